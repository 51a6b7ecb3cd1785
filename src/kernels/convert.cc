#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/convert.h"
// clang-format on

#include <hwy/highway.h>

#include "base/half.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
constexpr D d;
constexpr hn::RebindToUnsigned<D> du;
constexpr hn::Rebind<uint16_t, D> d16;

/// Exponent and mantissa move up by 13 bits and the exponent's bias from 15 to 127; subnormals are normalised by a
/// subtraction that is exact, infinities and NaNs get fp32's largest exponent.
HWY_INLINE hn::Vec<D> widen_half(hn::Vec<decltype(d16)> half) {
  const auto h = hn::PromoteTo(du, half);
  const auto sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(du, 0x8000u)));
  const auto magnitude = hn::And(h, hn::Set(du, 0x7fffu));
  const auto moved = hn::Add(hn::ShiftLeft<13>(magnitude), hn::Set(du, 112u << 23));
  const auto special = hn::Gt(magnitude, hn::Set(du, 0x7bffu));
  const auto subnormal = hn::Lt(magnitude, hn::Set(du, 0x0400u));
  const auto large = hn::IfThenElse(special, hn::Add(moved, hn::Set(du, 112u << 23)), moved);
  const auto small = hn::Sub(hn::BitCast(d, hn::Add(moved, hn::Set(du, 1u << 23))), hn::Set(d, 0x1p-14f));
  return hn::BitCast(d, hn::Or(sign, hn::IfThenElse(subnormal, hn::BitCast(du, small), large)));
}

void F32FromF16(const uint16_t* HWY_RESTRICT in, int64_t n, float* HWY_RESTRICT out) {
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + step <= n; i += step) hn::StoreU(widen_half(hn::LoadU(d16, in + i)), d, out + i);
  ref::f32_from_f16(in + i, n - i, out + i);
}

void F32FromBf16(const uint16_t* HWY_RESTRICT in, int64_t n, float* HWY_RESTRICT out) {
  const auto step = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + step <= n; i += step) {
    hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(d16, in + i)))), d, out + i);
  }
  ref::f32_from_bf16(in + i, n - i, out + i);
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(F32FromF16);
HWY_EXPORT(F32FromBf16);

void f32_from_f16(const uint16_t* in, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(F32FromF16)(in, n, out);
}
void f32_from_bf16(const uint16_t* in, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(F32FromBf16)(in, n, out);
}

namespace ref {
void f32_from_f16(const uint16_t* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = mxq::f32_from_f16(in[i]);
}
void f32_from_bf16(const uint16_t* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = mxq::f32_from_bf16(in[i]);
}
}  // namespace ref

}  // namespace mxq
#endif  // HWY_ONCE
