// Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in Hugging Face's order: element i of a head is paired
// with element i + head_dim/2.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace mxq {

class Rope {
 public:
  /// Scaling "linear" (positions divided by the factor) and "llama3" (only long wavelengths are stretched, Llama 3.1's
  /// reference code). Throws Error(unsupported) for any other.
  explicit Rope(const ModelConfig& config);

  /// Rotates one head of head_dim floats at `position`.
  void rotate(float* head, int64_t position) const;
  /// Undoes it.
  void rotate_back(float* head, int64_t position) const;
  /// Makes the tables reach to `positions`; rotate() may only be called below.
  void reserve(int64_t positions);

 private:
  int64_t half_ = 0;
  std::vector<double> frequencies_;           // radians a position
  std::vector<float> cos_, sin_, minus_sin_;  // [positions, half]
};

}  // namespace mxq
