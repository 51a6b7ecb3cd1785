// GGUF's blocks of 32 elements along the last dimension: what their bytes mean.
//
//   Q4_0  fp16 d;                    16 bytes of nibbles   w = d * (q - 8)
//   Q4_1  fp16 d; fp16 m;            16 bytes of nibbles   w = d * q + m
//   Q5_0  fp16 d;         u32 high;  16 bytes of nibbles   w = d * (q - 16)
//   Q5_1  fp16 d; fp16 m; u32 high;  16 bytes of nibbles   w = d * q + m
//   Q8_0  fp16 d;                    32 i8                 w = d * q
//
// Byte j holds element j in its low and element j + 16 in its high nibble; bit i of `high` is bit 4 of element i.
// Everything is little-endian, the arithmetic fp32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mxq/tensor.h"

namespace mxq {

/// 32 * `blocks` floats from as many blocks. `dtype` must be one of the five.
void dequantize_ggml_blocks(DType dtype, const std::byte* bytes, int64_t blocks, float* out);

}  // namespace mxq
