// fp16 and bf16 <-> fp32, IEEE 754 round to nearest even. Scalar; kernels/ has the wide versions.
#pragma once

#include <cstdint>

namespace mxq {

float f32_from_f16(uint16_t bits);
/// Overflow gives infinity, as IEEE says.
uint16_t f16_from_f32(float value);
/// The smallest fp16 that is not below `value`; the largest finite one where all are.
uint16_t f16_at_least(float value);

float f32_from_bf16(uint16_t bits);
uint16_t bf16_from_f32(float value);

}  // namespace mxq
