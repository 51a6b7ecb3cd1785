// Symmetric grids: nothing but a scale is kept of a group, and that loses less than the range would.
#include "schemes/affine/symmetric.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "schemes/family.h"
#include "schemes/feedback/gptq.h"
#include "schemes/feedback/test_matrices.h"

namespace mxq {
namespace {

struct Pair {
  float scale, bias;
};

Pair pair_of(const QuantizedMatrix& q, int64_t group) {
  const auto value = [&](std::string_view part) {
    uint16_t bits;
    std::memcpy(&bits, q.part(part).data() + 2 * group, 2);
    return q.layout.metadata == Metadata::f16_bias ? f32_from_f16(bits) : f32_from_bf16(bits);
  };
  return {value("scales"), value("biases")};
}

/// Squared error of the grids of the largest magnitude, nearest codes.
double range_error(const Matrix& m, int64_t rows, int64_t cols, int bits, int group) {
  const double zero = 1 << (bits - 1), largest = 2 * zero - 1;
  double sum = 0;
  for (int64_t first = 0; first < rows * cols; first += group) {
    double most = 0;
    for (int i = 0; i < group; ++i) most = std::max(most, std::fabs(double{m.data[first + i]}));
    const double scale = 2 * most / largest;
    for (int i = 0; i < group && most > 0; ++i) {
      const double w = m.data[first + i], q = std::clamp(std::nearbyint(w / scale + zero), 0.0, largest);
      sum += std::pow(w - (q - zero) * scale, 2);
    }
  }
  return sum;
}

TEST(Symmetric, EveryGroupHasTheUpperMiddleCodeForAZero) {
  std::mt19937 random(kSeed);
  Matrix m = gaussian(33, 192, random);
  for (int64_t c = 0; c < 64; ++c) {
    m.data[c] = 0;                                  // a group of zeros
    m.data[192 + c] = std::fabs(m.data[192 + c]);   // one of positive weights
    m.data[384 + c] = -std::fabs(m.data[384 + c]);  // one of negative ones
    m.data[576 + c] *= 1e-6f;                       // below what fp16 holds well
    m.data[768 + c] *= 1e5f;                        // beyond what it holds
  }
  const auto h = correlated(192, 600, random);
  GptqOptions gptq;
  gptq.grid = GptqOptions::Grid::symmetric;
  for (const Metadata metadata : {Metadata::f16_bias, Metadata::bf16_bias}) {
    for (const int bits : {2, 3, 4, 5, 6, 7, 8}) {
      QuantizeOptions options{Fit::mse, 1, metadata};
      options.feedback.zero_point = ZeroPoint::symmetric;
      const QuantizedMatrix alone = quantize_matrix(m.view(), {bits, 64}, options);
      options.fit = Fit::gptq;
      const QuantizedMatrix fed = quantize_matrix_gptq(m.view(), h, {bits, 64}, options, gptq);
      for (int64_t g = 0; g < 33 * 3; ++g) {
        for (const QuantizedMatrix* q : {&alone, &fed}) {
          SCOPED_TRACE(testing::Message() << bits << " bits, group " << g << " seed " << kSeed);
          const Pair pair = pair_of(*q, g);
          EXPECT_TRUE(std::isfinite(pair.bias));
          EXPECT_EQ(pair.bias, -pair.scale * static_cast<float>(1 << (bits - 1)));
        }
      }
    }
  }
}

TEST(Symmetric, LosesLessThanTheRange) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(48, 256, random);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    QuantizeOptions options{Fit::mse, 1, Metadata::f16_bias};
    options.feedback.zero_point = ZeroPoint::symmetric;
    const QuantizedMatrix q = quantize_matrix(m.view(), {bits, 64}, options);
    const double norm = squared_error_norm(m.view(), q.view());
    EXPECT_LT(norm * norm, (bits < 5 ? 0.85 : 1.0) * range_error(m, 48, 256, bits, 64)) << bits << " bits";
    const Scheme scheme{bits, 64};
    EXPECT_NEAR(measure_matrix(m.view(), {&scheme, 1}, options).front(), norm, 1e-9 * norm);
  }
}

/// Error feedback finds scales for what it does to the weights, in either order of columns.
TEST(Symmetric, FeedbackLosesLessOfTheOutputs) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(48, 256, random);
  const auto h = correlated(256, 600, random);
  for (const int bits : {2, 3, 4, 8}) {
    QuantizeOptions options{Fit::mse, 1, Metadata::f16_bias};
    options.feedback.zero_point = ZeroPoint::symmetric;
    const double alone = output_error(m.view(), quantize_matrix(m.view(), {bits, 64}, options).view(), h);
    options.fit = Fit::gptq;
    for (const int64_t ordered : {0, 64}) {
      GptqOptions gptq;
      gptq.grid = GptqOptions::Grid::symmetric;
      gptq.ordered_groups = ordered;
      const QuantizedMatrix fed = quantize_matrix_gptq(m.view(), h, {bits, 64}, options, gptq);
      EXPECT_LT(output_error(m.view(), fed.view(), h), 0.7 * alone) << bits << " bits, seed " << kSeed;
    }
  }
}

}  // namespace
}  // namespace mxq
