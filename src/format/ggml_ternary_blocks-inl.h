// GGUF's blocks of 256 weights -d, 0 and d (and 2 d), for code of one instruction set (included anew for each).
//
//   TQ1_0  48 bytes of five weights, 4 bytes of four; fp16 d   a byte is a fraction of 256, whose digits to base 3 are
//          the weights plus 1. Those of bytes 0 to 31 are 32 apart, of bytes 32 to 47 16, of the last bytes 4
//   TQ2_0  64 bytes of four weights of 2 bits; fp16 d          the weights plus 1, which are 32 apart
#if defined(MXQ_GGML_TERNARY_BLOCKS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXQ_GGML_TERNARY_BLOCKS_INL_H
#undef MXQ_GGML_TERNARY_BLOCKS_INL_H
#else
#define MXQ_GGML_TERNARY_BLOCKS_INL_H
#endif

#include <hwy/highway.h>

#include "format/ggml_block_parts-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

template <int kBytesOfBlock, int kMost>
struct BlockTernary {
  static constexpr int kBlock = 256, kGroup = 256, kBytes = kBytesOfBlock, kLow = -1, kHigh = kMost;
  static constexpr bool kOffsets = false, kHalfScales = true;
};

struct Tq1 : BlockTernary<54, 1> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    scales[0] = ReadHalf(in + 52);
    UnpackDigits<32, 5>(in, codes);
    UnpackDigits<16, 5>(in + 32, codes + 160);
    UnpackDigits<4, 4>(in + 48, codes + 240);
  }

 private:
  /// kDigits digits of each of kCount bytes; kPower is 3 to the number of those that have been read.
  template <int kCount, int kDigits, int kPower = 1>
  static HWY_INLINE void UnpackDigits(const uint8_t* HWY_RESTRICT in, int8_t* HWY_RESTRICT codes) {
    for (int j = 0; j < kCount; ++j) {
      const auto rest = static_cast<uint8_t>(in[j] * kPower);
      codes[j] = static_cast<int8_t>(static_cast<uint16_t>(rest * 3) >> 8) - 1;
    }
    if constexpr (kDigits > 1) UnpackDigits<kCount, kDigits - 1, kPower * 3>(in, codes + kCount);
  }
};

struct Tq2 : BlockTernary<66, 2> {
  static HWY_INLINE void Unpack(const uint8_t* in, int8_t* codes, float* scales, float*) {
    scales[0] = ReadHalf(in + 64);
    for (int k = 0; k < 2; ++k, in += 32, codes += 128) {
      BitsOfBytes<32, 0, 2, -1>(in, codes);
      BitsOfBytes<32, 2, 2, -1>(in, codes + 32);
      BitsOfBytes<32, 4, 2, -1>(in, codes + 64);
      BitsOfBytes<32, 6, 2, -1>(in, codes + 96);
    }
  }
};

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
