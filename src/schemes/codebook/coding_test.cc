// Codebooks coded with error feedback.
#include "schemes/codebook/coding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "expect_error.h"
#include "schemes/codebook/lloyd_max.h"
#include "schemes/feedback/gptq.h"
#include "schemes/feedback/test_matrices.h"

namespace mxq {
namespace {

const Scheme kSchemes[] = {{2, 32, "gaussian"}, {3, 64, "gaussian"}, {4, 128, "gaussian"}, {3, 64, "kmeans"}};

/// By the recursion in fp64: no level is nearer to what a weight has become than the one that it was given. Which
/// levels and scales there are is seen from what is read back, and from the levels' ratios.
TEST(CodebookFeedback, TakesTheNearestLevelToWhatTheWeightHasBecome) {
  std::mt19937 random(kSeed);
  constexpr int64_t kRows = 21, kCols = 200;
  const Matrix m = gaussian(kRows, kCols, random);
  const auto h = correlated(kCols, 500, random);
  for (const int bits : {2, 3, 4}) {
    const auto& levels = codebook::lloyd_max_levels(bits);
    for (const int group : {32, 64, 128}) {
      for (const bool reorder : {false, true}) {
        for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
          SCOPED_TRACE(testing::Message() << bits << " bits, groups of " << group << ", " << metadata_name(metadata)
                                          << ", reordered " << reorder << ", seed " << kSeed);
          const FeedbackFactor factor(h, kCols, {.ordered_groups = reorder ? group : 0});
          const auto q = quantize_matrix_gptq(m.view(), factor, {bits, group, "gaussian"}, {Fit::gptq, 1, metadata});
          std::vector<float> back(m.data.size());
          dequantize_matrix(q.view(), back.data());
          for (int64_t r = 0; r < kRows; ++r) {
            const float *weights = m.data.data() + r * kCols, *stored = back.data() + r * kCols;
            for (int64_t i = 0; i < kCols; ++i) {
              const int64_t column = factor.order()[i];
              double w = weights[column];
              for (int64_t k = 0; k < i; ++k) {
                const int64_t before = factor.order()[k];
                w += (double{weights[before]} - stored[before]) * factor.coefficients()[i * kCols + k];
              }
              // The group's scale: its largest level is a level of the table, which one fits all of the group.
              const int64_t first = column / group * group, end = std::min<int64_t>(first + group, kCols);
              double scale = 0;
              for (size_t top = levels.size() / 2; top < levels.size() && scale == 0; ++top) {
                double largest = 0;
                for (int64_t c = first; c < end; ++c) largest = std::max(largest, std::fabs(double{stored[c]}));
                const double trial = largest / levels[top];
                const bool fits = std::all_of(stored + first, stored + end, [&](float x) {
                  return std::any_of(levels.begin(), levels.end(),
                                     [&](float level) { return std::fabs(x - level * trial) <= 1e-6 * largest; });
                });
                if (fits) scale = trial;
              }
              ASSERT_GT(scale, 0);
              double nearest = std::numeric_limits<double>::infinity();
              for (const float level : levels) nearest = std::min(nearest, std::fabs(w - level * scale));
              ASSERT_LE(std::fabs(w - stored[column]), nearest + 1e-6) << "row " << r << " column " << column;
            }
          }
        }
      }
    }
  }
}

TEST(CodebookFeedback, LosesLessThanTheNearestLevels) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(96, 256, random);
  const auto h = correlated(256, 800, random);
  for (const Scheme& scheme : kSchemes) {
    for (const Normalize normalize : {Normalize::none, Normalize::columns, Normalize::rotation}) {
      SCOPED_TRACE(testing::Message() << scheme.name() << " " << normalize_name(normalize) << " seed " << kSeed);
      const QuantizeOptions weights_alone{Fit::mse, 1, Metadata::q8, normalize};
      QuantizeOptions fed_back = weights_alone;
      fed_back.fit = Fit::gptq;
      const double alone = error_by_definition(m, quantize_matrix(m.view(), scheme, weights_alone), h);
      const double fed = error_by_definition(m, quantize_matrix_gptq(m.view(), h, scheme, fed_back), h);
      EXPECT_LT(fed, 0.6 * alone);
      // Without feedback it is least squares weighted by the inputs.
      GptqOptions diagonal;
      diagonal.feedback = false;
      const double weighted = error_by_definition(m, quantize_matrix_gptq(m.view(), h, scheme, fed_back, diagonal), h);
      EXPECT_LT(weighted, 1.05 * alone);
    }
  }
}

TEST(CodebookFeedback, ThreadsMakeNoDifference) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(300, 320, random);
  const auto h = correlated(320, 500, random);
  for (const Scheme& scheme : kSchemes) {
    set_threads(1);
    const auto one = quantize_matrix_gptq(m.view(), h, scheme, {Fit::gptq});
    set_threads(5);
    EXPECT_EQ(quantize_matrix_gptq(m.view(), h, scheme, {Fit::gptq}).parts, one.parts) << scheme.name();
  }
  set_threads(0);
}

TEST(CodebookFeedback, HugeWeightsAndZerosStayFinite) {
  std::vector<float> w(3 * 64, 1e-3f), back(w.size());
  w[3] = 3e38f;
  w[70] = -3e38f;
  w[90] = 3e38f;
  std::fill(w.begin() + 128, w.end(), 0.0f);
  std::mt19937 random(kSeed);
  const auto h = correlated(64, 200, random);
  for (const Scheme& scheme : kSchemes) {
    for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
      dequantize_matrix(quantize_matrix_gptq({w.data(), 3, 64}, h, scheme, {Fit::gptq, 1, metadata}).view(),
                        back.data());
      for (const float x : back) ASSERT_TRUE(std::isfinite(x)) << scheme.name() << " " << metadata_name(metadata);
      for (int c = 128; c < 192; ++c) EXPECT_EQ(back[c], 0) << "a row of zeros";
    }
  }
}

TEST(CodebookFeedback, OtherFamiliesAreRefused) {
  const std::vector<float> w(128, 1.0f), h = identity(64);
  expect_error(ErrorCode::unsupported, "scheme nf4g64; expected schemes of affine, gaussian, kmeans", [&] {
    quantize_matrix_gptq({w.data(), 2, 64}, h, {4, 64, "nf"}, {Fit::gptq});
  });
}

}  // namespace
}  // namespace mxq
