// Floats from the whole range, for tests.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace mxq {

/// Floats of every exponent and both signs, a few of each, zeros, the smallest and the largest; no NaN, no infinity.
inline std::vector<float> every_exponent() {
  std::vector<float> all;
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 0x1FFFF) {
    const auto x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (std::isfinite(x)) all.push_back(x);
  }
  for (const float x : {0.0f, std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::max()}) {
    all.insert(all.end(), {x, -x});
  }
  return all;
}

/// The same, NaN and infinities.
inline std::vector<float> every_float() {
  auto all = every_exponent();
  const float inf = std::numeric_limits<float>::infinity();
  all.insert(all.end(), {inf, -inf, std::numeric_limits<float>::quiet_NaN()});
  return all;
}

/// `n` of them, far apart, from `start` on and round again.
inline std::vector<float> spread(const std::vector<float>& all, size_t start, size_t n) {
  constexpr size_t kStep = 7919;  // a prime: all are met
  std::vector<float> some(n);
  for (size_t i = 0; i < n; ++i) some[i] = all[(start + i * kStep) % all.size()];
  return some;
}

/// One value: the same bits, two zeros, or NaN both.
template <typename Value>
bool same_value(Value a, Value b) {
  if constexpr (std::is_floating_point_v<Value>) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  }
  return a == b;
}

}  // namespace mxq
