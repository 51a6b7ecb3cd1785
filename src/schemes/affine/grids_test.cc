// The grids of GPTQ as published: from a group's range, with an integer zero.
#include "schemes/affine/grids.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "schemes/feedback/gptq.h"
#include "schemes/feedback/test_matrices.h"

namespace mxq {
namespace {

float value(std::span<const std::byte> bytes, int64_t index) {
  float result;
  std::memcpy(&result, bytes.data() + index * 4, 4);
  return result;
}

class PublishedGrid : public testing::TestWithParam<GptqOptions::Grid> {};
INSTANTIATE_TEST_SUITE_P(Grids, PublishedGrid, testing::Values(GptqOptions::Grid::range, GptqOptions::Grid::symmetric));

/// Of the first group, whose weights no feedback has changed, by the formulas of AutoGPTQ's quantizer.
TEST_P(PublishedGrid, IsTheRangeOfTheGroup) {
  const bool symmetric = GetParam() == GptqOptions::Grid::symmetric;
  std::mt19937 random(kSeed);
  Matrix m = gaussian(40, 192, random);
  for (int64_t c = 0; c < 192; ++c) {
    m.data[c] = std::fabs(m.data[c]);         // a row of positive weights: its range begins at 0
    m.data[192 + c] = -std::fabs(m.data[c]);  // and one of negative ones
    m.data[384 + c] = 0;
  }
  const auto h = correlated(192, 600, random);
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool reorder : {false, true}) {
      GptqOptions gptq;
      gptq.grid = GetParam();
      gptq.ordered_groups = reorder ? 64 : 0;
      const auto q = quantize_matrix_gptq(m.view(), h, {bits, 64}, {Fit::gptq, 1, Metadata::f32}, gptq);
      const double largest = (1 << bits) - 1;
      for (int64_t r = 0; r < 40; ++r) {
        SCOPED_TRACE(testing::Message() << "bits " << bits << " row " << r << " reordered " << reorder << " seed "
                                        << kSeed);
        {
          const int64_t g = FeedbackFactor(h, 192, gptq).order()[0] / 64;  // the first that is coded
          const float* w = m.data.data() + r * 192 + g * 64;
          double low = std::min(0.0f, *std::min_element(w, w + 64)),
                 high = std::max(0.0f, *std::max_element(w, w + 64));
          if (symmetric) {
            high = std::max(-low, high);
            low = -high;
          }
          if (high == low) continue;
          const double scale = (high - low) / largest,
                       zero = symmetric ? (largest + 1) / 2 : std::nearbyint(-low / scale);
          EXPECT_NEAR(value(q.part("scales"), r * 3 + g), scale, 1e-6 * scale);
          EXPECT_NEAR(value(q.part("zeros"), r * 3 + g), zero, 1e-4);
        }
        for (int64_t g = 0; g < 3; ++g) {
          const double zero = value(q.part("zeros"), r * 3 + g);
          EXPECT_NEAR(zero, std::nearbyint(zero), 1e-4);
        }
      }
      std::vector<float> back(m.data.size());
      dequantize_matrix(q.view(), back.data());
      for (int64_t c = 384; c < 576; ++c) EXPECT_EQ(back[c], 0) << "a row of zeros";
    }
  }
}

TEST_P(PublishedGrid, LeastSquaresLosesLess) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(64, 256, random);
  const auto h = correlated(256, 800, random);
  const QuantizeOptions options{Fit::gptq, 1, Metadata::f16};
  GptqOptions gptq;
  gptq.grid = GetParam();
  const double published = output_error(m.view(), quantize_matrix_gptq(m.view(), h, {3, 64}, options, gptq).view(), h);
  const double ours = output_error(m.view(), quantize_matrix_gptq(m.view(), h, {3, 64}, options).view(), h);
  EXPECT_LT(ours, 0.9 * published) << "seed " << kSeed;
}

TEST(PublishedGrids, HugeWeightsStayFinite) {
  std::vector<float> w(2 * 64, 1e-3f), back(w.size());
  w[3] = 3e38f;
  w[70] = -3e38f;
  w[90] = 3e38f;
  std::mt19937 random(kSeed);
  const auto h = correlated(64, 200, random);
  GptqOptions gptq;
  gptq.grid = GptqOptions::Grid::range;
  for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
    const auto q = quantize_matrix_gptq({w.data(), 2, 64}, h, {4, 64}, {Fit::gptq, 1, metadata}, gptq);
    dequantize_matrix(q.view(), back.data());
    for (const float x : back) ASSERT_TRUE(std::isfinite(x)) << metadata_name(metadata);
  }
}

}  // namespace
}  // namespace mxq
