#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dequantize.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/dequantize.h"
// clang-format on

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
constexpr D d;
constexpr hn::RebindToSigned<D> di;
constexpr hn::RebindToUnsigned<D> du;

#if HWY_TARGET != HWY_SCALAR

/// Sixteen codes take 2 * bits <= 16 bytes. A byte shuffle brings to each 32-bit lane the two bytes that its code
/// starts in, a shift and a mask leave the code; value(codes, number of the group) what it stands for.
template <typename Value>
HWY_INLINE void DequantizeStream(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n,
                                 float* out, const Value& value) {
  constexpr hn::Repartition<uint8_t, D> d8;
  HWY_ALIGN uint8_t bytes[64];
  HWY_ALIGN uint32_t shifts[16];
  for (int i = 0; i < 16; ++i) {
    const int first = bits * i / 8;
    for (int k = 0; k < 4; ++k) bytes[4 * i + k] = static_cast<uint8_t>(std::min(first + k, 15));
    shifts[i] = static_cast<uint32_t>(bits * i % 8);
  }
  const auto mask = hn::Set(du, (1u << bits) - 1);
  const size_t lanes = hn::Lanes(d);
  HWY_ALIGN uint8_t padded[16] = {};
  HWY_ALIGN float last[16];
  for (int64_t i = 0; i < n; i += 16, stream += 2 * bits, stream_bytes -= 2 * bits) {
    const uint8_t* source = stream;
    if (stream_bytes < 16) {
      std::memcpy(padded, stream, static_cast<size_t>(stream_bytes));
      source = padded;
    }
    float* target = n - i < 16 ? last : out + i;
    const auto sixteen = hn::LoadDup128(d8, source);
    for (size_t l = 0; l < 16; l += lanes) {
      const auto words = hn::BitCast(du, hn::TableLookupBytes(sixteen, hn::Load(d8, bytes + 4 * l)));
      const auto codes = hn::And(hn::Shr(words, hn::Load(du, shifts + l)), mask);
      hn::StoreU(value(hn::BitCast(di, codes), i / group), d, target + l);
    }
    if (target == last) std::memcpy(out + i, last, static_cast<size_t>(n - i) * sizeof(float));
  }
}

#endif

void DequantizeGroups(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                      const float* zeros, float* out) {
#if HWY_TARGET == HWY_SCALAR
  ref::dequantize_groups(stream, stream_bytes, bits, group, n, scales, zeros, out);
#else
  DequantizeStream(stream, stream_bytes, bits, group, n, out, [&](auto codes, int64_t j) HWY_ATTR {
    return hn::Mul(hn::Sub(hn::ConvertTo(d, codes), hn::Set(d, zeros[j])), hn::Set(d, scales[j]));
  });
#endif
}

void DequantizeBiased(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                      const float* biases, float* out) {
#if HWY_TARGET == HWY_SCALAR
  ref::dequantize_biased(stream, stream_bytes, bits, group, n, scales, biases, out);
#else
  DequantizeStream(stream, stream_bytes, bits, group, n, out, [&](auto codes, int64_t j) HWY_ATTR {
    return hn::Add(hn::Mul(hn::ConvertTo(d, codes), hn::Set(d, scales[j])), hn::Set(d, biases[j]));
  });
#endif
}

void DequantizeLevels(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                      const float* levels, float* out) {
#if HWY_TARGET == HWY_SCALAR
  ref::dequantize_levels(stream, stream_bytes, bits, group, n, scales, levels, out);
#else
  HWY_ALIGN float table[16] = {};
  std::copy_n(levels, int64_t{1} << bits, table);
  DequantizeStream(stream, stream_bytes, bits, group, n, out, [&](auto codes, int64_t j) HWY_ATTR {
    const auto scale = hn::Set(d, scales[j]);
    if constexpr (hn::MaxLanes(d) == 16) {
      return hn::Mul(hn::TableLookupLanes(hn::Load(d, table), hn::IndicesFromVec(d, codes)), scale);
    } else {
      return hn::Mul(hn::GatherIndex(d, table, codes), scale);
    }
  });
#endif
}

void DequantizeElements(const uint8_t* codes, int64_t n, const float* scales, const float* zeros, float* out) {
  constexpr hn::Rebind<uint8_t, D> d8;
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + step <= n; i += step) {
    const auto q = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, codes + i)));
    hn::StoreU(hn::Mul(hn::Sub(q, hn::LoadU(d, zeros + i)), hn::LoadU(d, scales + i)), d, out + i);
  }
  ref::dequantize_elements(codes + i, n - i, scales + i, zeros + i, out + i);
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(DequantizeGroups);
HWY_EXPORT(DequantizeBiased);
HWY_EXPORT(DequantizeLevels);
HWY_EXPORT(DequantizeElements);

void dequantize_groups(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                       const float* zeros, float* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeGroups)(stream, stream_bytes, bits, group, n, scales, zeros, out);
}
void dequantize_biased(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                       const float* biases, float* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeBiased)(stream, stream_bytes, bits, group, n, scales, biases, out);
}
void dequantize_levels(const uint8_t* stream, int64_t stream_bytes, int bits, int group, int64_t n, const float* scales,
                       const float* levels, float* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeLevels)(stream, stream_bytes, bits, group, n, scales, levels, out);
}
void dequantize_elements(const uint8_t* codes, int64_t n, const float* scales, const float* zeros, float* out) {
  HWY_DYNAMIC_DISPATCH(DequantizeElements)(codes, n, scales, zeros, out);
}

namespace ref {

namespace {

unsigned code_at(const uint8_t* stream, int bits, int64_t i) {
  const int64_t bit = i * bits;
  const int shift = static_cast<int>(bit % 8);
  unsigned word = stream[bit / 8];
  if (shift + bits > 8) word |= static_cast<unsigned>(stream[bit / 8 + 1]) << 8;
  return (word >> shift) & ((1u << bits) - 1);
}

}  // namespace

void dequantize_groups(const uint8_t* stream, int64_t, int bits, int group, int64_t n, const float* scales,
                       const float* zeros, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = (static_cast<float>(code_at(stream, bits, i)) - zeros[i / group]) * scales[i / group];
  }
}

void dequantize_biased(const uint8_t* stream, int64_t, int bits, int group, int64_t n, const float* scales,
                       const float* biases, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float product = static_cast<float>(code_at(stream, bits, i)) * scales[i / group];
    out[i] = product + biases[i / group];
  }
}

void dequantize_levels(const uint8_t* stream, int64_t, int bits, int group, int64_t n, const float* scales,
                       const float* levels, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = levels[code_at(stream, bits, i)] * scales[i / group];
}

void dequantize_elements(const uint8_t* codes, int64_t n, const float* scales, const float* zeros, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = (static_cast<float>(codes[i]) - zeros[i]) * scales[i];
}

}  // namespace ref

}  // namespace mxq
#endif  // HWY_ONCE
