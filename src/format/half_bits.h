// fp16 to fp32 without branches and inline, so that loops over it vectorise; equal to base/half.h bit for bit
// (weights_test.cc).
#pragma once

#include <bit>
#include <cstdint>

namespace mxq {

/// condition ? a : b by masks: of a conditional, GCC makes a branch where an operand is the result of float arithmetic.
inline uint32_t select_bits(bool condition, uint32_t a, uint32_t b) {
  const uint32_t mask = 0u - static_cast<uint32_t>(condition);
  return (a & mask) | (b & ~mask);
}

inline float widen_f16(uint16_t half) {
  const uint32_t magnitude = (half & 0x7fffu) << 13;
  const uint32_t exponent = half & 0x7c00u;
  const uint32_t rebias = 112u << 23;  // 127 - 15; twice for infinity and NaN, whose exponent becomes 255
  const uint32_t normal = magnitude + rebias + (exponent == 0x7c00u ? rebias : 0u);
  // mantissa * 2^-24: the mantissa put into the last bits of 0.5, then the 0.5 taken off
  const auto subnormal = std::bit_cast<uint32_t>(std::bit_cast<float>(0x3f000000u | (half & 0x3ffu)) - 0.5f);
  return std::bit_cast<float>(select_bits(exponent == 0, subnormal, normal) | (half & 0x8000u) << 16);
}

}  // namespace mxq
