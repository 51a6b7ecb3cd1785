// Coordinate descent after error feedback: what it leaves is a minimum along every weight, found by trying.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/bitpack.h"
#include "expect_error.h"
#include "mxq/error.h"
#include "schemes/feedback/gptq.h"
#include "schemes/feedback/test_matrices.h"

namespace mxq {
namespace {

constexpr double kDamping = 0.01;

std::vector<float> damped(std::vector<float> h, int64_t n) {
  double mean = 0;
  for (int64_t c = 0; c < n; ++c) mean += h[c * n + c] / static_cast<double>(n);
  for (int64_t c = 0; c < n; ++c) h[c * n + c] += static_cast<float>(kDamping * mean);
  return h;
}

struct Sweeps : testing::TestWithParam<const char*> {
  QuantizedMatrix quantized(int sweeps, Normalize normalize = Normalize::none, int64_t ordered = 0) const {
    QuantizeOptions options;
    options.fit = Fit::gptq;
    options.metadata = metadata;
    options.normalize = normalize;
    GptqOptions gptq;
    gptq.damping = kDamping;
    gptq.sweeps = sweeps;
    gptq.ordered_groups = ordered;
    return quantize_matrix_gptq(m.view(), h, scheme, options, gptq);
  }

  std::mt19937 random{kSeed};
  const Scheme scheme = parse_scheme(GetParam());
  const int64_t cols = scheme.group == 256 ? 512 : 3 * scheme.group;
  const Matrix m = gaussian(19, cols, random);
  const std::vector<float> h = correlated(cols, 2 * cols, random), whole = damped(h, cols);
  Metadata metadata = Metadata::q8;
};

TEST_P(Sweeps, EachLosesLess) {
  for (const Normalize normalize : {Normalize::none, Normalize::columns, Normalize::rotation}) {
    double before = error_by_definition(m, quantized(0, normalize), whole);
    const double first = before;
    for (const int sweeps : {1, 2, 3, 8}) {
      const double error = error_by_definition(m, quantized(sweeps, normalize), whole);
      EXPECT_LE(error, before * (1 + 1e-5)) << normalize_name(normalize) << ", " << sweeps;
      before = error;
    }
    EXPECT_LT(before, 0.99 * first) << normalize_name(normalize);
  }
}

/// Of families whose codes are a part of their own.
struct SweptCodes : Sweeps {};

TEST_P(SweptCodes, LeaveNoWeightThatAnotherCodeWouldServeBetter) {
  for (const Metadata which : {Metadata::q8, Metadata::f16}) {
    for (const int64_t ordered : {int64_t{0}, int64_t{scheme.group}}) {
      metadata = which;
      QuantizedMatrix q = quantized(30, Normalize::none, ordered);
      const QuantizedMatrix without = quantized(0, Normalize::none, ordered);
      for (size_t part = 0; part < q.parts.size(); ++part) {
        const bool codes = q.layout.parts()[part].name == "codes";
        EXPECT_EQ(q.parts[part] == without.parts[part], !codes) << q.layout.parts()[part].name;
      }
      const double least = error_by_definition(m, q, whole);
      std::vector<uint8_t> codes(static_cast<size_t>(cols));
      for (int64_t r = 0; r < m.rows; r += 6) {
        const auto row = q.part("codes").subspan(static_cast<size_t>(r * q.layout.code_row_bytes()),
                                                 static_cast<size_t>(q.layout.code_row_bytes()));
        unpack_codes(row, scheme.bits, 0, cols, codes.data());
        for (int64_t c = 0; c < cols; c += 5) {
          const uint8_t own = codes[c];
          for (const int other : {own - 1, own + 1}) {
            if (other < 0 || other >= 1 << scheme.bits) continue;
            codes[c] = static_cast<uint8_t>(other);
            pack_codes(codes.data(), cols, scheme.bits, row.data());
            EXPECT_GE(error_by_definition(m, q, whole), least * (1 - 1e-5)) << r << ", " << c;
          }
          codes[c] = own;
          pack_codes(codes.data(), cols, scheme.bits, row.data());
        }
      }
    }
  }
}

constexpr const char* kCoded[] = {"b2g32", "b3g64", "b4g16", "b8g32", "gauss3g32", "gauss2g64"};
constexpr const char* kBlocks[] = {"q4_0", "q4_1", "q5_1", "iq4_nl", "q2_k", "q3_k", "q4_k", "q6_k", "iq4_xs"};
INSTANTIATE_TEST_SUITE_P(Schemes, Sweeps, testing::ValuesIn(kCoded));
INSTANTIATE_TEST_SUITE_P(Blocks, Sweeps, testing::ValuesIn(kBlocks));
INSTANTIATE_TEST_SUITE_P(Schemes, SweptCodes, testing::ValuesIn(kCoded));

TEST(FeedbackFactor, HasTheMomentsInCodingOrder) {
  std::mt19937 random(kSeed);
  const int64_t cols = 160;
  const auto h = correlated(cols, 2 * cols, random);
  GptqOptions options;
  options.damping = kDamping;
  options.shrinkage = 0.25;
  options.ordered_groups = 32;
  const FeedbackFactor factor(h, cols, options);
  std::vector<float> t(static_cast<size_t>(cols));
  for (size_t i = 0; i < t.size(); ++i) t[i] = 0.5f + 0.01f * static_cast<float>(i);
  const FeedbackFactor scaled = factor.scaled(t);
  const auto whole = damped(h, cols);
  const auto order = factor.order();
  std::vector<float> rows(static_cast<size_t>(7 * cols)), of_scaled(rows.size());
  for (const int64_t first : {0, 61, 153}) {
    factor.moments(first, 7, rows.data());
    scaled.moments(first, 7, of_scaled.data());
    for (int64_t r = 0; r < 7; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const int64_t i = order[first + r], j = order[c];
        const double wanted = whole[i * cols + j] * (i == j ? 1 : 0.75) / factor.mean_diagonal();
        EXPECT_NEAR(rows[r * cols + c], wanted, 1e-5 * std::abs(wanted) + 1e-7);
        EXPECT_NEAR(of_scaled[r * cols + c], wanted * t[i] * t[j], 1e-5 * std::abs(wanted) + 1e-7);
      }
    }
  }
  options.sweeps = -1;
  expect_error(ErrorCode::usage, "-1 sweeps", [&] { FeedbackFactor(h, cols, options); });
}

}  // namespace
}  // namespace mxq
