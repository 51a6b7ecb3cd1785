#include "model/runner/cpu/gated_slopes.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "model/runner/cpu/numbers.h"

namespace mxq {

namespace {

constexpr auto kScale = static_cast<float>(kClampedScale), kLimit = static_cast<float>(kClampedLimit);

/// The gate's way through sigmoid(u): u and what it changes by with the gate.
struct Inner {
  float u, slope;
};
Inner inner_of(Activation activation, float gate) {
  if (activation == Activation::silu) return {gate, 1};
  if (activation == Activation::clamped) return {kScale * gate, kScale};
  constexpr auto scale = static_cast<float>(2 * kGeluScale), cubic = static_cast<float>(kGeluCubic);
  return {scale * (gate + cubic * gate * gate * gate), scale * (1 + 3 * cubic * gate * gate)};
}

}  // namespace

GatedSlopes::GatedSlopes(Activation activation, const std::vector<float>& gate, const std::vector<float>& up,
                         int64_t width)
    : width_(width), by_gate_(gate.size()), by_up_(gate.size()) {
  parallel_for(std::ssize(gate) / width, [&](int64_t row) {
    for (int64_t i = row * width; i < (row + 1) * width; ++i) {
      const bool clamped = activation == Activation::clamped;
      const float g = clamped ? std::min(gate[i], kLimit) : gate[i];
      const float factor = clamped ? std::clamp(up[i], -kLimit, kLimit) + 1 : up[i];
      const auto [u, slope] = inner_of(activation, g);
      const float part = sigmoid(u);
      by_up_[i] = clamped && std::abs(up[i]) > kLimit ? 0 : g * part;
      by_gate_[i] = clamped && gate[i] > kLimit ? 0 : factor * part * (1 + g * (1 - part) * slope);
    }
  });
}

std::vector<float> GatedSlopes::through(std::vector<float>& gradient) const {
  std::vector<float> d_gate(gradient.size());
  parallel_for(std::ssize(gradient) / width_, [&](int64_t row) {
    for (int64_t i = row * width_; i < (row + 1) * width_; ++i) {
      d_gate[i] = gradient[i] * by_gate_[i];
      gradient[i] *= by_up_[i];
    }
  });
  return d_gate;
}

}  // namespace mxq
