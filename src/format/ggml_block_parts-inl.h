// What the types of GGUF blocks have in common, for code of one instruction set (included anew for each).
//
// A type is a class with kBlock weights in kBytes bytes, kGroup weights a scale, kOffsets, kLow and kHigh (GgmlCodes)
// and Unpack, which writes the codes of one block, the scales of its groups and, where kOffsets, their offsets.
// Loops have a count that the compiler sees and pointers that it knows apart: so it makes vectors of them at -O2.
#if defined(MXQ_GGML_BLOCK_PARTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXQ_GGML_BLOCK_PARTS_INL_H
#undef MXQ_GGML_BLOCK_PARTS_INL_H
#else
#define MXQ_GGML_BLOCK_PARTS_INL_H
#endif

#include <hwy/highway.h>

#include <cstring>

#include "format/half_bits.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

template <typename T>
HWY_INLINE T ReadAs(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

HWY_INLINE float ReadHalf(const uint8_t* bytes) {
  return widen_f16(ReadAs<uint16_t>(bytes));
}

constexpr uint64_t kEveryByte = 0x0101010101010101u;

/// Byte i is bit i of `bits`.
HWY_INLINE uint64_t BytesOfBits(uint64_t bits) {
  const uint64_t apart = (bits * kEveryByte) & 0x8040201008040201u;
  return ((apart + 0x7f * kEveryByte) >> 7) & kEveryByte;
}

/// The bytes of `magnitudes`, 1 to 127 each, with a minus where the bit of `signs` is set.
HWY_INLINE uint64_t WithSigns(uint64_t magnitudes, uint64_t signs) {
  const uint64_t negative = BytesOfBits(signs);
  return (magnitudes ^ (negative * 0xff)) + negative;
}

/// Bits [kShift, kShift + kBits) of every byte, plus kAdd.
template <int kCount, int kShift, int kBits, int kAdd = 0>
HWY_INLINE void BitsOfBytes(const uint8_t* HWY_RESTRICT in, int8_t* HWY_RESTRICT codes) {
  for (int j = 0; j < kCount; ++j) codes[j] = static_cast<int8_t>(((in[j] >> kShift) & ((1 << kBits) - 1)) + kAdd);
}

/// Codes of 256 weights are unpacked before they are scaled: read at once, they would have to wait for the narrower
/// stores that wrote them.
template <typename Type>
HWY_INLINE void DequantizeAs(const uint8_t* HWY_RESTRICT in, int64_t blocks, float* HWY_RESTRICT out) {
  constexpr int batch = 256 / Type::kBlock, groups = Type::kBlock / Type::kGroup;
  while (blocks > 0) {
    HWY_ALIGN int8_t codes[256];
    HWY_ALIGN float scales[batch * groups], offsets[batch * groups];
    const int taken = blocks < batch ? static_cast<int>(blocks) : batch;
    for (int b = 0; b < taken; ++b, in += Type::kBytes) {
      Type::Unpack(in, codes + b * Type::kBlock, scales + b * groups, offsets + b * groups);
    }
    for (int g = 0; g < taken * groups; ++g, out += Type::kGroup) {
      const float scale = scales[g];
      const int8_t* HWY_RESTRICT from = codes + g * Type::kGroup;
      if constexpr (Type::kOffsets) {
        const float offset = offsets[g];
        for (int j = 0; j < Type::kGroup; ++j) out[j] = scale * static_cast<float>(from[j]) + offset;
      } else {
        for (int j = 0; j < Type::kGroup; ++j) out[j] = scale * static_cast<float>(from[j]);
      }
    }
    blocks -= taken;
  }
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
