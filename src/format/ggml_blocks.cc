#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "format/ggml_blocks.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "format/ggml_blocks.h"
// clang-format on

#include <hwy/highway.h>

#include <bit>

#include "format/ggml_grid_blocks-inl.h"
#include "format/ggml_k_blocks-inl.h"
#include "format/ggml_nibble_blocks-inl.h"
#include "format/ggml_ternary_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

/// visit(Type()) of the class that knows `dtype`.
template <typename Visit>
HWY_INLINE void WithType(DType dtype, const Visit& visit) {
  switch (dtype) {
    case DType::q4_0:
      return visit(Q4_0());
    case DType::q4_1:
      return visit(Q4_1());
    case DType::q5_0:
      return visit(Q5_0());
    case DType::q5_1:
      return visit(Q5_1());
    case DType::q8_0:
      return visit(Q8_0());
    case DType::q2_k:
      return visit(Q2K());
    case DType::q3_k:
      return visit(Q3K());
    case DType::q4_k:
      return visit(Q4K());
    case DType::q5_k:
      return visit(Q5K());
    case DType::q6_k:
      return visit(Q6K());
    case DType::iq1_s:
      return visit(Iq1S());
    case DType::iq1_m:
      return visit(Iq1M());
    case DType::iq2_xxs:
      return visit(Iq2Xxs());
    case DType::iq2_xs:
      return visit(Iq2Xs());
    case DType::iq2_s:
      return visit(Iq2S());
    case DType::iq3_xxs:
      return visit(Iq3Xxs());
    case DType::iq3_s:
      return visit(Iq3S());
    case DType::iq4_nl:
      return visit(Iq4Nl());
    case DType::iq4_xs:
      return visit(Iq4Xs());
    case DType::tq1_0:
      return visit(Tq1());
    case DType::tq2_0:
      return visit(Tq2());
    case DType::mxfp4:
      return visit(Mxfp4());
    default:
      return;
  }
}

void DequantizeBlocks(DType dtype, const uint8_t* bytes, int64_t blocks, float* out) {
  WithType(dtype, [&](auto type) HWY_ATTR { DequantizeAs<decltype(type)>(bytes, blocks, out); });
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

static_assert(std::endian::native == std::endian::little, "blocks are read in place: little-endian machines only");

HWY_EXPORT(DequantizeBlocks);

void dequantize_ggml_blocks(DType dtype, const std::byte* bytes, int64_t blocks, float* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeBlocks)(dtype, reinterpret_cast<const uint8_t*>(bytes), blocks, out);
}

bool is_ggml_block(DType dtype) {
  return ggml_codes(dtype).high > 0;
}

GgmlCodes ggml_codes(DType dtype) {
  GgmlCodes codes;
  HWY_STATIC_DISPATCH(WithType)
  (dtype, [&](auto type) {
    using Type = decltype(type);
    codes = {Type::kGroup, Type::kLow, Type::kHigh, Type::kOffsets, Type::kHalfScales};
  });
  return codes;
}

void unpack_ggml_block(DType dtype, const std::byte* bytes, int8_t* codes, float* scales) {
  HWY_STATIC_DISPATCH(WithType)
  (dtype, [&](auto type) {
    float offsets[kGgmlGroups];
    decltype(type)::Unpack(reinterpret_cast<const uint8_t*>(bytes), codes, scales, offsets);
  });
}

}  // namespace mxq
#endif  // HWY_ONCE
