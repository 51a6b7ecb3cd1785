// Random values for tests.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace mxq {

/// n values of a normal distribution around 0.
inline std::vector<float> normal_floats(std::mt19937& random, int64_t n, float spread = 1) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& x : values) x = normal(random);
  return values;
}

}  // namespace mxq
