// Weights that lie on a scheme's grid are told from those that do not, and left as they are.
#include "schemes/normalize/normalize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "mxq/quantized_matrix.h"
#include "schemes/feedback/gptq.h"

namespace mxq {
namespace {

constexpr unsigned kSeed = 5;
constexpr int64_t kRows = 70, kCols = 320;

/// Gaussian weights; with `bits`, each group of 32 rounded to 2^bits levels between its least and largest weight, as
/// Q4_1 of GGUF does.
std::vector<float> weights(int bits) {
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  std::vector<float> w(kRows * kCols);
  for (float& x : w) x = 0.02f * normal(random);
  for (size_t g = 0; bits > 0 && g < w.size(); g += 32) {
    const auto [low, high] = std::minmax_element(w.begin() + g, w.begin() + g + 32);
    const float from = *low, step = (*high - *low) / float((1 << bits) - 1);
    for (size_t i = g; i < g + 32; ++i) w[i] = from + step * std::round((w[i] - from) / step);
  }
  return w;
}

MatrixView view(const std::vector<float>& w) {
  return {w.data(), kRows, kCols};
}

const QuantizeOptions kRotated{Fit::mse, 1, Metadata::q8, Normalize::rotation};

TEST(Normalize, TellsWeightsOnAGridOfTheirScheme) {
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  const auto gaussian = weights(0);
  for (const Scheme& scheme : all_schemes()) {
    for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
      const QuantizeOptions options{Fit::mse, 1, metadata, Normalize::rotation};
      EXPECT_FALSE(lies_on_grid(view(gaussian), scheme, options)) << scheme.name();
    }
  }
  for (const int bits : {3, 4, 5}) {
    const auto gridded = weights(bits);
    for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
      const QuantizeOptions options{Fit::gptq, 1, metadata, Normalize::columns};
      EXPECT_TRUE(lies_on_grid(view(gridded), {bits, 32}, options)) << bits << " " << metadata_name(metadata);
      EXPECT_FALSE(lies_on_grid(view(gridded), {bits - 1, 32}, options)) << bits << " " << metadata_name(metadata);
      EXPECT_FALSE(lies_on_grid(view(gridded), {bits, 128}, options)) << bits << " " << metadata_name(metadata);
    }
    EXPECT_FALSE(lies_on_grid(view(gridded), {bits, 32}, {Fit::mse, 0, Metadata::q8, Normalize::columns}));
  }
}

TEST(Normalize, EmptyAndZeroMatricesLieOnNoGrid) {
  const std::vector<float> zero(64, 0.0f);
  EXPECT_FALSE(lies_on_grid({zero.data(), 2, 32}, {4, 32}, kRotated));
  EXPECT_FALSE(lies_on_grid({nullptr, 0, 32}, {4, 32}, kRotated));
  EXPECT_FALSE(lies_on_grid({nullptr, 3, 0}, {4, 32}, kRotated));
}

TEST(Normalize, LeavesWeightsOnAGridAsTheyAre) {
  const auto gridded = weights(4);
  QuantizeOptions none = kRotated;
  none.normalize = Normalize::none;
  std::vector<float> moments(kCols * kCols, 0.0f);
  for (int64_t k = 0; k < kCols; ++k) moments[k * kCols + k] = 1.0f + 0.01f * float(k);
  const Scheme on{4, 32}, off{3, 32};
  const auto measured = measure_matrix(view(gridded), std::vector<Scheme>{on, off}, kRotated);
  const auto plain = measure_matrix(view(gridded), std::vector<Scheme>{on, off}, none);
  EXPECT_EQ(measured[0], plain[0]);
  EXPECT_NE(measured[1], plain[1]);

  QuantizeOptions gptq = kRotated;
  gptq.fit = Fit::gptq;
  for (const QuantizedMatrix& q :
       {quantize_matrix(view(gridded), on, kRotated), quantize_matrix_gptq(view(gridded), moments, on, gptq)}) {
    EXPECT_FALSE(q.layout.rotated);
    EXPECT_TRUE(q.layout.has_column_scales);
    for (size_t i = 0; i < q.part("column_scales").size(); i += 2) {  // fp16's 1
      ASSERT_EQ(q.part("column_scales")[i], std::byte{0});
      ASSERT_EQ(q.part("column_scales")[i + 1], std::byte{0x3c});
    }
    std::vector<float> back(gridded.size());
    dequantize_matrix(q.view(), back.data());
    double error = 0;
    for (size_t i = 0; i < back.size(); ++i) error += std::pow(double{back[i]} - gridded[i], 2);
    EXPECT_NEAR(std::sqrt(error), plain[0], 1e-9 * plain[0]);
  }
  EXPECT_TRUE(quantize_matrix(view(gridded), off, kRotated).layout.rotated);
}

}  // namespace
}  // namespace mxq
