// GGUF's blocks of 256 weights that name entries of a grid (ggml_grids.h), for code of one instruction set (included
// anew for each). s is 0 to 15 or 0 to 7, g a weight of the entry with its sign.
//
//   IQ2_XXS  fp16 d; 8 times 4 bytes q and a u32 of four signs of 7 bits and s   w = d (0.5 + s) / 4 * g, 8 groups
//   IQ2_XS   fp16 d; 32 u16 of q (9 bits) and signs (7); 16 nibbles s            the same, 16 groups
//   IQ2_S    fp16 d; 32 bytes q; 32 bytes of signs; 8 bytes of bits 8 and 9 of q; 16 nibbles s     the same, 16 groups
//   IQ3_XXS  fp16 d; 64 bytes q; 8 u32 of four signs of 7 bits and s             w = d (0.5 + s) / 2 * g, 8 groups
//   IQ3_S    fp16 d; 64 bytes q; 8 bytes of bit 8 of q; 32 bytes of signs; 8 nibbles s   w = d (1 + 2 s) * g, 8 groups
//   IQ1_S    fp16 d; 32 bytes q; 8 u16: four times bits 8 to 10 of q, s, sign of the shift t = 1/8
//            w = d (1 + 2 s) * (g + t), 8 groups
//   IQ1_M    32 bytes q; 16 bytes: twice bits 8 to 10 of q and the sign of t; 4 u16: four s, a nibble of fp16 d
//            the same, 16 groups, a shift for each entry
//
// Of 7 bits of signs the eighth is such that an even number is set. Entries have eight weights, four in IQ3.
#if defined(MXQ_GGML_GRID_BLOCKS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXQ_GGML_GRID_BLOCKS_INL_H
#undef MXQ_GGML_GRID_BLOCKS_INL_H
#else
#define MXQ_GGML_GRID_BLOCKS_INL_H
#endif

#include <hwy/highway.h>

#include <array>
#include <bit>
#include <cstring>

#include "format/ggml_block_parts-inl.h"
#include "format/ggml_grids.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

template <int kBytesOfBlock, int kWeights, int kMost>
struct BlockGrid {
  static constexpr int kBlock = 256, kGroup = kWeights, kBytes = kBytesOfBlock, kLow = -kMost, kHigh = kMost;
  static constexpr bool kOffsets = false, kHalfScales = false;
};

constexpr std::array<uint8_t, 128> MakeEvenSigns() {
  std::array<uint8_t, 128> all{};
  for (unsigned i = 0; i < 128; ++i) all[i] = static_cast<uint8_t>(i | (std::popcount(i) & 1u) << 7);
  return all;
}
constexpr std::array<uint8_t, 128> kEvenSigns = MakeEvenSigns();

HWY_INLINE void Put8(uint64_t magnitudes, uint64_t signs, int8_t* codes) {
  const uint64_t eight = WithSigns(magnitudes, signs);
  std::memcpy(codes, &eight, 8);
}

HWY_INLINE float Nibble(const uint8_t* bytes, int i) {
  return static_cast<float>(bytes[i / 2] >> (4 * (i % 2)) & 15);
}

struct Iq2Xxs : BlockGrid<66, 32, 43> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const float d = ReadHalf(in);
    for (int g = 0; g < 8; ++g) {
      const uint8_t* const q = in + 2 + 8 * g;
      const auto rest = ReadAs<uint32_t>(q + 4);
      scales[g] = d * (0.5f + static_cast<float>(rest >> 28)) * 0.25f;
      for (int k = 0; k < 4; ++k) {
        Put8(kIq2XxsGrid[q[k]], kEvenSigns[rest >> (7 * k) & 127u], codes + 32 * g + 8 * k);
      }
    }
  }
};

struct Iq2Xs : BlockGrid<74, 16, 43> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const float d = ReadHalf(in);
    for (int g = 0; g < 16; ++g) scales[g] = d * (0.5f + Nibble(in + 66, g)) * 0.25f;
    for (int k = 0; k < 32; ++k) {
      const unsigned q = ReadAs<uint16_t>(in + 2 + 2 * k);
      Put8(kIq2XsGrid[q & 511u], kEvenSigns[q >> 9], codes + 8 * k);
    }
  }
};

struct Iq2S : BlockGrid<82, 16, 43> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const float d = ReadHalf(in);
    for (int g = 0; g < 16; ++g) scales[g] = d * (0.5f + Nibble(in + 74, g)) * 0.25f;
    for (int k = 0; k < 32; ++k) {
      const unsigned q = in[2 + k] | (in[66 + k / 4] >> (2 * (k % 4)) & 3u) << 8;
      Put8(kIq2SGrid[q], in[34 + k], codes + 8 * k);
    }
  }
};

struct Iq3Xxs : BlockGrid<98, 32, 62> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const float d = ReadHalf(in);
    for (int g = 0; g < 8; ++g) {
      const uint8_t* const q = in + 2 + 8 * g;
      const auto rest = ReadAs<uint32_t>(in + 66 + 4 * g);
      scales[g] = d * (0.5f + static_cast<float>(rest >> 28)) * 0.5f;
      for (int k = 0; k < 4; ++k) {
        const uint64_t eight = kIq3XxsGrid[q[2 * k]] | static_cast<uint64_t>(kIq3XxsGrid[q[2 * k + 1]]) << 32;
        Put8(eight, kEvenSigns[rest >> (7 * k) & 127u], codes + 32 * g + 8 * k);
      }
    }
  }
};

struct Iq3S : BlockGrid<110, 32, 15> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const float d = ReadHalf(in);
    for (int g = 0; g < 8; ++g) scales[g] = d * (1.f + 2.f * Nibble(in + 106, g));
    for (int k = 0; k < 32; ++k) {
      const unsigned high = in[66 + k / 4] >> (2 * (k % 4));
      const uint64_t first = kIq3SGrid[in[2 + 2 * k] | (high & 1u) << 8];
      const uint64_t second = kIq3SGrid[in[3 + 2 * k] | (high >> 1 & 1u) << 8];
      Put8(first | second << 32, in[74 + k], codes + 8 * k);
    }
  }
};

/// Codes are 8 (g + t): -9, -7, -1, 1, 7, 9. The eighth goes into the scale, which stays exact.
HWY_INLINE void PutShifted(unsigned q, bool negative, int8_t* codes) {
  // Bytes of the grid are 8 (g + 1). Adding 119 or 121 and turning the highest bit makes them less 9 or 7.
  const uint64_t eight = (kIq1Grid[q] + (negative ? 119 : 121) * kEveryByte) ^ 0x80 * kEveryByte;
  std::memcpy(codes, &eight, 8);
}

struct Iq1S : BlockGrid<50, 32, 9> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    const float d = ReadHalf(in);
    for (int g = 0; g < 8; ++g) {
      const unsigned high = ReadAs<uint16_t>(in + 34 + 2 * g);
      scales[g] = d * static_cast<float>(2 * (high >> 12 & 7u) + 1) * 0.125f;
      for (int k = 0; k < 4; ++k) {
        const unsigned q = in[2 + 4 * g + k] | (high >> (3 * k) & 7u) << 8;
        PutShifted(q, (high & 0x8000u) != 0, codes + 32 * g + 8 * k);
      }
    }
  }
};

struct Iq1M : BlockGrid<56, 16, 9> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    unsigned half = 0;
    for (int k = 0; k < 4; ++k) half |= (ReadAs<uint16_t>(in + 48 + 2 * k) >> 12 & 15u) << (4 * k);
    const float d = widen_f16(static_cast<uint16_t>(half));
    for (int g = 0; g < 16; ++g) {
      const unsigned s = ReadAs<uint16_t>(in + 48 + g / 4 * 2) >> (3 * (g % 4)) & 7u;
      scales[g] = d * static_cast<float>(2 * s + 1) * 0.125f;
    }
    for (int k = 0; k < 32; ++k) {
      const unsigned high = in[32 + k / 2] >> (4 * (k % 2)) & 15u;
      PutShifted(in[k] | (high & 7u) << 8, (high & 8u) != 0, codes + 8 * k);
    }
  }
};

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
