// What gated activations change by with gate and up.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace mxq {

/// Of activation(gate) * up, or of the clamped activation of both; [rows, width].
class GatedSlopes {
 public:
  GatedSlopes() = default;
  GatedSlopes(Activation activation, const std::vector<float>& gate, const std::vector<float>& up, int64_t width);

  /// The gradient with respect to the gated activations becomes that with respect to up; returned is that with respect
  /// to the gate.
  std::vector<float> through(std::vector<float>& gradient) const;

 private:
  int64_t width_ = 0;
  std::vector<float> by_gate_, by_up_;
};

}  // namespace mxq
