// What the files of the CPU runner need of single numbers, and of many.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace mxq {

/// n zeros.
inline std::vector<float> floats(int64_t n) {
  return std::vector<float>(static_cast<size_t>(n));
}

inline float sigmoid(float x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace mxq
