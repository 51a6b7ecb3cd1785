// Floating point numbers as whole ones, whatever they are: a plain cast of what the type cannot hold is undefined.
#pragma once

#include <cmath>
#include <concepts>
#include <limits>

namespace mxq {

/// `value` without its fraction, or the nearest number that T holds; 0 for NaN.
template <std::integral T>
T saturate(double value) {
  // 2^digits, which is exact; the largest T itself may not be.
  const double end = std::ldexp(1.0, std::numeric_limits<T>::digits);
  if (std::isnan(value)) return 0;
  if (value >= end) return std::numeric_limits<T>::max();
  if (value <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  return static_cast<T>(value);
}

}  // namespace mxq
