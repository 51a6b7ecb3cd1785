// Slopes of gated activations against differences of their reference in double precision.
#include "model/runner/cpu/gated_slopes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include <vector>

namespace mxq {
namespace {

double value(Activation activation, double gate, double up) {
  if (activation == Activation::silu) return gate / (1 + std::exp(-gate)) * up;
  if (activation == Activation::gelu) {
    return gate / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (gate + 0.044715 * gate * gate * gate))) * up;
  }
  // transformers' GptOssExperts.
  gate = std::min(gate, 7.0);
  up = std::min(std::max(up, -7.0), 7.0);
  return gate / (1 + std::exp(-1.702 * gate)) * (up + 1);
}

TEST(GatedSlopes, AreDifferences) {
  std::vector<float> gate, up;
  for (const float g : {-30.0f, -8.0f, -1.5f, -0.1f, 0.0f, 0.7f, 3.0f, 6.9f, 7.1f, 20.0f}) {
    for (const float u : {-9.0f, -7.1f, -6.9f, -1.0f, 0.0f, 0.3f, 6.9f, 7.1f, 50.0f}) {
      gate.push_back(g);
      up.push_back(u);
    }
  }
  for (const Activation activation : {Activation::silu, Activation::gelu, Activation::clamped}) {
    const GatedSlopes slopes(activation, gate, up, 9);
    std::vector<float> of_up(gate.size(), 2);
    const auto of_gate = slopes.through(of_up);
    for (size_t i = 0; i < gate.size(); ++i) {
      const double g = gate[i], u = up[i], h = 1e-4;
      const double by_gate = value(activation, g + h, u) - value(activation, g - h, u);
      const double by_up = value(activation, g, u + h) - value(activation, g, u - h);
      EXPECT_NEAR(of_gate[i], by_gate / h, 1e-4 * (1 + std::abs(u))) << g << ", " << u;
      EXPECT_NEAR(of_up[i], by_up / h, 1e-4 * (1 + std::abs(g))) << g << ", " << u;
    }
  }
  // Beyond the limits nothing comes through.
  const GatedSlopes clamped(Activation::clamped, {7.5f, 1, 1}, {1, 7.5f, -7.5f}, 3);
  std::vector<float> of_up(3, 1);
  const auto of_gate = clamped.through(of_up);
  EXPECT_EQ(of_gate[0], 0);
  EXPECT_EQ(of_up[1], 0);
  EXPECT_EQ(of_up[2], 0);
}

}  // namespace
}  // namespace mxq
