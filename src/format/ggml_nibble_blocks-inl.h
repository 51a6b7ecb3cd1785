// GGUF's blocks of 4, 5 and 8 bits a weight, for code of one instruction set (included anew for each).
//
//   Q4_0    fp16 d;                    16 bytes of nibbles   w = d * (q - 8)
//   Q4_1    fp16 d; fp16 m;            16 bytes of nibbles   w = d * q + m
//   Q5_0    fp16 d;         u32 high;  16 bytes of nibbles   w = d * (q - 16)
//   Q5_1    fp16 d; fp16 m; u32 high;  16 bytes of nibbles   w = d * q + m
//   Q8_0    fp16 d;                    32 i8                 w = d * q
//   IQ4_NL  fp16 d;                    16 bytes of nibbles   w = d * kLevels[q]
//   MXFP4   u8 e;                      16 bytes of nibbles   w = 2^(e - 128) * kFp4[q]
//   IQ4_XS  fp16 d; u16 high; 4 bytes of low nibbles of 8 scales; 8 times 16 bytes of nibbles
//           w = d * (scale - 32) * kLevels[q], of 256 weights; bits 2i and 2i + 1 of `high` are bits 4 and 5 of scale i
//
// Of 32 weights, byte j holds weight j in its low and weight j + 16 in its high nibble; bit i of `high` is bit 4 of
// weight i.
#if defined(MXQ_GGML_NIBBLE_BLOCKS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXQ_GGML_NIBBLE_BLOCKS_INL_H
#undef MXQ_GGML_NIBBLE_BLOCKS_INL_H
#else
#define MXQ_GGML_NIBBLE_BLOCKS_INL_H
#endif

#include <hwy/highway.h>

#include <bit>
#include <cstring>

#include "format/ggml_block_parts-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

/// 32 weights of 4 or 5 bits, less kZero. `high` is as above.
template <int kZero>
HWY_INLINE void UnpackNibbles(const uint8_t* HWY_RESTRICT in, int8_t* HWY_RESTRICT codes) {
  BitsOfBytes<16, 0, 4, -kZero>(in, codes);
  BitsOfBytes<16, 4, 4, -kZero>(in, codes + 16);
}
template <int kZero>
HWY_INLINE void UnpackFiveBits(const uint8_t* HWY_RESTRICT high, const uint8_t* HWY_RESTRICT in,
                               int8_t* HWY_RESTRICT codes) {
#if HWY_TARGET == HWY_SCALAR
  for (int j = 0; j < 16; ++j) {
    codes[j] = static_cast<int8_t>(((in[j] & 15) | (high[j / 8] >> (j % 8) & 1) << 4) - kZero);
    codes[16 + j] = static_cast<int8_t>((in[j] >> 4 | (high[2 + j / 8] >> (j % 8) & 1) << 4) - kZero);
  }
#else
  namespace hn = hwy::HWY_NAMESPACE;
  constexpr hn::FixedTag<uint8_t, 16> d;
  constexpr hn::FixedTag<uint32_t, 4> d32;
  HWY_ALIGN static constexpr uint8_t kByte[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  HWY_ALIGN static constexpr uint8_t kBit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const auto four = hn::BitCast(d, hn::Set(d32, ReadAs<uint32_t>(high)));
  const auto byte = hn::Load(d, kByte), bit = hn::Load(d, kBit), zero = hn::Set(d, kZero), bytes = hn::LoadU(d, in);
  const auto fifth = [&](auto which) HWY_ATTR {
    const auto set = hn::Eq(hn::And(hn::TableLookupBytes(four, which), bit), bit);
    return hn::IfThenElseZero(set, hn::Set(d, 16));
  };
  auto* out = reinterpret_cast<uint8_t*>(codes);
  const auto low = hn::Or(hn::And(bytes, hn::Set(d, 15)), fifth(byte));
  const auto upper = hn::Or(hn::ShiftRight<4>(bytes), fifth(hn::Add(byte, hn::Set(d, 2))));
  hn::StoreU(hn::Sub(low, zero), d, out);
  hn::StoreU(hn::Sub(upper, zero), d, out + 16);
#endif
}

/// 32 weights that name one of 16 levels.
HWY_INLINE void UnpackLevels(const int8_t* HWY_RESTRICT levels, const uint8_t* HWY_RESTRICT in,
                             int8_t* HWY_RESTRICT codes) {
#if HWY_TARGET == HWY_SCALAR
  for (int j = 0; j < 16; ++j) codes[j] = levels[in[j] & 15], codes[16 + j] = levels[in[j] >> 4];
#else
  namespace hn = hwy::HWY_NAMESPACE;
  constexpr hn::FixedTag<uint8_t, 16> d;
  auto* out = reinterpret_cast<uint8_t*>(codes);
  const auto table = hn::LoadU(d, reinterpret_cast<const uint8_t*>(levels));
  const auto bytes = hn::LoadU(d, in);
  hn::StoreU(hn::TableLookupBytes(table, hn::And(bytes, hn::Set(d, 15))), d, out);
  hn::StoreU(hn::TableLookupBytes(table, hn::ShiftRight<4>(bytes)), d, out + 16);
#endif
}

/// The levels of IQ4_NL and IQ4_XS, and twice the numbers of OCP's FP4 (E2M1): facts of the formats, as the pip package
/// gguf 0.19.0 has them (gguf/quants.py).
constexpr int8_t kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int8_t kFp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// 32 weights with one fp16 scale.
template <int kBytesOfBlock, int kLeast, int kMost, bool kHasOffset = false>
struct Block32 {
  static constexpr int kBlock = 32, kGroup = 32, kBytes = kBytesOfBlock, kLow = kLeast, kHigh = kMost;
  static constexpr bool kOffsets = kHasOffset, kHalfScales = true;
};

struct Q4_0 : Block32<18, -8, 7> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    scales[0] = ReadHalf(in);
    UnpackNibbles<8>(in + 2, codes);
  }
};

struct Q4_1 : Block32<20, 0, 15, true> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float* offsets) {
    scales[0] = ReadHalf(in);
    offsets[0] = ReadHalf(in + 2);
    UnpackNibbles<0>(in + 4, codes);
  }
};

struct Q5_0 : Block32<22, -16, 15> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    scales[0] = ReadHalf(in);
    UnpackFiveBits<16>(in + 2, in + 6, codes);
  }
};

struct Q5_1 : Block32<24, 0, 31, true> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float* offsets) {
    scales[0] = ReadHalf(in);
    offsets[0] = ReadHalf(in + 2);
    UnpackFiveBits<0>(in + 4, in + 8, codes);
  }
};

struct Q8_0 : Block32<34, -128, 127> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    scales[0] = ReadHalf(in);
    std::memcpy(codes, in + 2, 32);
  }
};

struct Iq4Nl : Block32<18, -127, 113> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    scales[0] = ReadHalf(in);
    UnpackLevels(kLevels, in + 2, codes);
  }
};

struct Mxfp4 : Block32<17, -12, 12> {
  static constexpr bool kHalfScales = false;
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const uint32_t e = in[0];
    scales[0] = std::bit_cast<float>(e < 2 ? 0x200000u << e : (e - 1) << 23);  // 2^(e - 128), subnormal for e < 2
    UnpackLevels(kFp4, in + 1, codes);
  }
};

struct Iq4Xs {
  static constexpr int kBlock = 256, kGroup = 32, kBytes = 136, kLow = -127, kHigh = 113;
  static constexpr bool kOffsets = false, kHalfScales = false;
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const float d = ReadHalf(in);
    const unsigned high = ReadAs<uint16_t>(in + 2);
    for (int g = 0; g < 8; ++g) {
      const unsigned low = in[4 + g / 2] >> (4 * (g % 2)) & 15u;
      scales[g] = d * static_cast<float>(static_cast<int>(low | (high >> (2 * g) & 3u) << 4) - 32);
      UnpackLevels(kLevels, in + 8 + 16 * g, codes + 32 * g);
    }
  }
};

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
