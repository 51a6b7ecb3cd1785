// SINQ's column scales against what the sinq package (0.2.0, sinkhorn_log) gives.
#include "schemes/normalize/sinq_scales.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/parallel.h"
#include "mxq/quantized_matrix.h"

namespace mxq {
namespace {

TEST(SinqScales, EqualThePackages) {
  std::vector<float> w(6 * 12);
  for (int r = 0; r < 6; ++r) {
    for (int c = 0; c < 12; ++c) {
      w[r * 12 + c] = static_cast<float>(((r * 7 + c * 13) % 11 - 5) * (c % 8 + 1) * 0.01 * (r + 1));
    }
  }
  // Tiles of 8 and of what is left, each over its geometric mean.
  const float expected[12] = {0.365703f, 0.583757f, 0.734007f, 1.031216f, 1.531774f, 1.595232f,
                              1.496833f, 1.691989f, 0.532857f, 0.928321f, 1.199460f, 1.685410f};
  const auto t = sinq_scales({w.data(), 6, 12}, 8);
  for (int k = 0; k < 12; ++k) EXPECT_NEAR(t[k], expected[k], expected[k] * 0x1.1p-11) << k;  // half a unit of fp16
}

TEST(SinqScales, AreLegalWhateverTheWeights) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> w(40 * 100);
  for (size_t i = 0; i < w.size(); ++i) w[i] = normal(random) * std::pow(10.0f, float(i % 100 % 60) - 30);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{40, 100}, {1, 100}, {100, 1}, {0, 7}, {7, 0}, {2, 33}}) {
    for (const float t : sinq_scales({w.data(), rows, cols}, 32)) {
      EXPECT_TRUE(t >= 0x1p-14f && t <= 0x1p15f) << rows << " x " << cols << ": " << t;
    }
  }
  const std::vector<float> zero(64, 0.0f);
  EXPECT_EQ(sinq_scales({zero.data(), 2, 32}, 32), std::vector<float>(32, 1.0f));
}

TEST(SinqScales, ThreadsMakeNoDifference) {
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<float> w(50 * 700);
  for (float& x : w) x = normal(random);
  set_threads(1);
  const auto one = sinq_scales({w.data(), 50, 700}, 64);
  set_threads(5);
  EXPECT_EQ(one, sinq_scales({w.data(), 50, 700}, 64));
  set_threads(0);
}

/// Tiles are the scheme's groups, so scales differ from group size to group size; measuring knows.
TEST(SinqScales, MeasureEqualsQuantizingAndSubtracting) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> w(20 * 200), back(w.size());
  for (size_t i = 0; i < w.size(); ++i) w[i] = normal(random) * float(1 + i % 7);
  const MatrixView matrix{w.data(), 20, 200};
  const std::vector<Scheme> schemes{{4, 64}, {3, 32}, {3, 64}, {4, 128}};
  const QuantizeOptions options{Fit::rtn, 1, Metadata::q8, Normalize::sinq};
  const auto measured = measure_matrix(matrix, schemes, options);
  for (size_t i = 0; i < schemes.size(); ++i) {
    const QuantizedMatrix q = quantize_matrix(matrix, schemes[i], options);
    EXPECT_TRUE(q.layout.has_column_scales && !q.layout.rotated);
    dequantize_matrix(q.view(), back.data());
    double error = 0;
    for (size_t j = 0; j < w.size(); ++j) error += std::pow(double{w[j]} - back[j], 2);
    EXPECT_NEAR(measured[i], std::sqrt(error), 1e-9 * std::sqrt(error)) << schemes[i].name();
  }
}

}  // namespace
}  // namespace mxq
