// 16-bit floats to fp32, wide. Exact, infinities and NaNs included; bit for bit what base/half.h gives.
#pragma once

#include <cstdint>

namespace mxq {

void f32_from_f16(const uint16_t* in, int64_t n, float* out);
void f32_from_bf16(const uint16_t* in, int64_t n, float* out);

namespace ref {
void f32_from_f16(const uint16_t* in, int64_t n, float* out);
void f32_from_bf16(const uint16_t* in, int64_t n, float* out);
}  // namespace ref

}  // namespace mxq
