// GGUF's K-quants, blocks of 256 weights, for code of one instruction set (included anew for each).
//
//   Q2_K  16 bytes of scales; 64 bytes q; fp16 d; fp16 dmin           w = d * low * q - dmin * high, 16 groups; low and
//         high are the nibbles of the group's scale
//   Q3_K  32 bytes h; 64 bytes q; 16 scales of 6 bits; fp16 d         w = d * (scale - 32) * (q + 4 h - 4), 16 groups
//   Q4_K  fp16 d; fp16 dmin; 8 scales and mins of 6 bits; 128 bytes q   w = d * scale * q - dmin * min, 8 groups
//   Q5_K  the same with 32 bytes h before q                           w = d * scale * (q + 16 h) - dmin * min
//   Q6_K  128 bytes q; 64 bytes h; 16 i8 scales; fp16 d               w = d * scale * (q + 16 h - 32), 16 groups
//
// Bits that lie in one byte belong to weights that are 32 apart (Q6_K's q: 64), the lowest bits to the first.
#if defined(MXQ_GGML_K_BLOCKS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXQ_GGML_K_BLOCKS_INL_H
#undef MXQ_GGML_K_BLOCKS_INL_H
#else
#define MXQ_GGML_K_BLOCKS_INL_H
#endif

#include <hwy/highway.h>

#include "format/ggml_block_parts-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

template <int kBytesOfBlock, int kWeights, int kLeast, int kMost, bool kHasOffsets>
struct BlockK {
  static constexpr int kBlock = 256, kGroup = kWeights, kBytes = kBytesOfBlock, kLow = kLeast, kHigh = kMost;
  static constexpr bool kOffsets = kHasOffsets, kHalfScales = false;
};

/// 128 weights of 2 bits from 32 bytes.
HWY_INLINE void UnpackTwoBits(const uint8_t* HWY_RESTRICT in, int8_t* HWY_RESTRICT codes) {
  BitsOfBytes<32, 0, 2>(in, codes);
  BitsOfBytes<32, 2, 2>(in, codes + 32);
  BitsOfBytes<32, 4, 2>(in, codes + 64);
  BitsOfBytes<32, 6, 2>(in, codes + 96);
}

struct Q2K : BlockK<84, 16, 0, 3, true> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float* offsets) {
    const float d = ReadHalf(in + 80), dmin = ReadHalf(in + 82);
    for (int g = 0; g < 16; ++g) {
      scales[g] = d * static_cast<float>(in[g] & 15);
      offsets[g] = -(dmin * static_cast<float>(in[g] >> 4));
    }
    UnpackTwoBits(in + 16, codes);
    UnpackTwoBits(in + 48, codes + 128);
  }
};

struct Q3K : BlockK<110, 16, -4, 3, false> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const float d = ReadHalf(in + 108);
    const uint8_t* const packed = in + 96;  // 8 bytes with two low nibbles each, 4 with the high bits of four
    for (int g = 0; g < 16; ++g) {
      const int low = packed[g % 8] >> (4 * (g / 8)) & 15, high = packed[8 + g % 4] >> (2 * (g / 4)) & 3;
      scales[g] = d * static_cast<float>((low | high << 4) - 32);
    }
    UnpackTwoBits(in + 32, codes);
    UnpackTwoBits(in + 64, codes + 128);
    AddHigh<0>(in, codes);
  }

 private:
  /// The third bit of weights 32 k on, and the -4.
  template <int k>
  static HWY_INLINE void AddHigh(const uint8_t* HWY_RESTRICT high, int8_t* HWY_RESTRICT codes) {
    for (int j = 0; j < 32; ++j) {
      codes[32 * k + j] = static_cast<int8_t>(codes[32 * k + j] + ((high[j] >> k & 1) << 2) - 4);
    }
    if constexpr (k < 7) AddHigh<k + 1>(high, codes);
  }
};

/// The scales and mins of Q4_K and Q5_K from their 12 bytes: bytes 0 to 3 have the first four scales and the upper bits
/// of the last four, bytes 4 to 7 the same of mins, bytes 8 to 11 the lower nibbles of the last scales and mins.
HWY_INLINE void UnpackScalesAndMins(float d, float dmin, const uint8_t* in, float* scales, float* offsets) {
  for (int g = 0; g < 4; ++g) {
    scales[g] = d * static_cast<float>(in[g] & 63);
    offsets[g] = -(dmin * static_cast<float>(in[4 + g] & 63));
    scales[4 + g] = d * static_cast<float>((in[8 + g] & 15) | (in[g] >> 6) << 4);
    offsets[4 + g] = -(dmin * static_cast<float>((in[8 + g] >> 4) | (in[4 + g] >> 6) << 4));
  }
}

struct Q4K : BlockK<144, 32, 0, 15, true> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float* offsets) {
    UnpackScalesAndMins(ReadHalf(in), ReadHalf(in + 2), in + 4, scales, offsets);
    for (int k = 0; k < 4; ++k) {
      BitsOfBytes<32, 0, 4>(in + 16 + 32 * k, codes + 64 * k);
      BitsOfBytes<32, 4, 4>(in + 16 + 32 * k, codes + 64 * k + 32);
    }
  }
};

struct Q5K : BlockK<176, 32, 0, 31, true> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float* offsets) {
    UnpackScalesAndMins(ReadHalf(in), ReadHalf(in + 2), in + 4, scales, offsets);
    Unpack64<0>(in + 16, in + 48, codes);
  }

 private:
  template <int k>
  static HWY_INLINE void Unpack64(const uint8_t* HWY_RESTRICT high, const uint8_t* HWY_RESTRICT in,
                                  int8_t* HWY_RESTRICT codes) {
    for (int j = 0; j < 32; ++j) codes[j] = static_cast<int8_t>((in[j] & 15) | (high[j] >> (2 * k) & 1) << 4);
    for (int j = 0; j < 32; ++j) codes[32 + j] = static_cast<int8_t>(in[j] >> 4 | (high[j] >> (2 * k + 1) & 1) << 4);
    if constexpr (k < 3) Unpack64<k + 1>(high, in + 32, codes + 64);
  }
};

struct Q6K : BlockK<210, 16, -32, 31, false> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const float d = ReadHalf(in + 208);
    for (int g = 0; g < 16; ++g) scales[g] = d * static_cast<float>(static_cast<int8_t>(in[192 + g]));
    Unpack128(in, in + 128, codes);
    Unpack128(in + 64, in + 160, codes + 128);
  }

 private:
  static HWY_INLINE void Unpack128(const uint8_t* HWY_RESTRICT in, const uint8_t* HWY_RESTRICT high,
                                   int8_t* HWY_RESTRICT codes) {
    for (int j = 0; j < 32; ++j) codes[j] = static_cast<int8_t>(((in[j] & 15) | (high[j] & 3) << 4) - 32);
    for (int j = 0; j < 32; ++j)
      codes[32 + j] = static_cast<int8_t>(((in[32 + j] & 15) | (high[j] >> 2 & 3) << 4) - 32);
    for (int j = 0; j < 32; ++j) codes[64 + j] = static_cast<int8_t>((in[j] >> 4 | (high[j] >> 4 & 3) << 4) - 32);
    for (int j = 0; j < 32; ++j) codes[96 + j] = static_cast<int8_t>((in[32 + j] >> 4 | (high[j] >> 6) << 4) - 32);
  }
};

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
