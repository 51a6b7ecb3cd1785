// Second moments against sums in fp64.
#include "model/runner/cpu/moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "base/half.h"
#include "kernels/matmul.h"
#include "random_floats.h"

namespace mxq {
namespace {

constexpr unsigned kSeed = 5;

TEST(SecondMoments, AreTheMeanOfProducts) {
  std::mt19937 random(kSeed);
  for (const Compute compute : {Compute::f32, Compute::bf16}) {
    if (compute == Compute::bf16 && !bf16_matmul_supported()) continue;
    // One row; a block and a half of columns; more rows than are taken at a time.
    for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 7}, {33, 150}, {2100, 97}}) {
      auto values = normal_floats(random, rows * width);
      Operand operand(compute);
      operand.set(values.data(), rows, width);
      if (compute == Compute::bf16) {
        for (size_t i = 0; i < values.size(); ++i) values[i] = f32_from_bf16(operand.bf16()[i]);
      }
      const SecondMoments moments = second_moments(operand);
      ASSERT_EQ(moments.width, width);
      std::vector<float> weights(static_cast<size_t>(rows));
      for (float& w : weights) w = static_cast<float>(random() % 5) / 2;  // some rows do not count at all
      const SecondMoments weighted = second_moments(operand, weights);
      ASSERT_EQ(weighted.mean_magnitudes, moments.mean_magnitudes);
      auto others = normal_floats(random, rows * width);
      Operand other(compute);
      other.set(others.data(), rows, width);
      if (compute == Compute::bf16) {
        for (size_t i = 0; i < others.size(); ++i) others[i] = f32_from_bf16(other.bf16()[i]);
      }
      const auto cross = cross_moments(operand, other, weights);
      // Rows times the roots of weights are rounded to bf16 once more.
      const double within = compute == Compute::bf16 ? 0.03 : 2e-5;
      for (int64_t i = 0; i < width; ++i) {
        for (int64_t j = i; j < width; ++j) {
          double sum = 0, counted = 0;
          for (int64_t r = 0; r < rows; ++r) {
            const double product = double{values[r * width + i]} * values[r * width + j];
            sum += product;
            counted += weights[r] * product;
          }
          ASSERT_NEAR(weighted.values[i * width + j], counted / static_cast<double>(rows), within);
          double across = 0, back = 0;
          for (int64_t r = 0; r < rows; ++r) {
            across += double{weights[r]} * others[r * width + i] * values[r * width + j];
            back += double{weights[r]} * others[r * width + j] * values[r * width + i];
          }
          ASSERT_NEAR(cross[i * width + j], across / static_cast<double>(rows), within);
          ASSERT_NEAR(cross[j * width + i], back / static_cast<double>(rows), within);
          ASSERT_NEAR(moments.values[i * width + j], sum / static_cast<double>(rows), 1e-5)
              << rows << " x " << width << " at " << i << ", " << j << " seed " << kSeed;
        }
        double magnitude = 0;
        for (int64_t r = 0; r < rows; ++r) magnitude += std::abs(double{values[r * width + i]});
        ASSERT_NEAR(moments.mean_magnitudes[i], magnitude / static_cast<double>(rows), 1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace mxq
