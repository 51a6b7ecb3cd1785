// Weights of any stored dtype to and from floats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mxq/tensor.h"

namespace mxq {

/// Elements [first, first + count) of a weight tensor (dtype_is_weight), row-major, as floats; exact for F32, F16 and
/// BF16, rounded for F64, by definition of the block (format/ggml_blocks.h) for the others. Both numbers are multiples
/// of dtype_block_elements. Parallel. Throws Error(unsupported) for other dtypes and F64 beyond F32's range, and
/// Error(usage) for a range outside the tensor or inside a block.
void read_f32(const TensorView& tensor, int64_t first, int64_t count, float* out);

/// The first of `count` finite values that writing as `dtype` makes infinite; -1 where there is none. Adds to `zeros`
/// how many values other than 0 it makes 0. Parallel.
int64_t first_overflow(const float* values, int64_t count, DType dtype, int64_t& zeros);

/// The first of `count` values of F64, F32, F16 or BF16 that is NaN or infinite; -1 where there is none, and for other
/// dtypes. Parallel.
int64_t first_not_finite(const std::byte* values, int64_t count, DType dtype);
inline int64_t first_not_finite(const float* values, int64_t count) {
  return first_not_finite(reinterpret_cast<const std::byte*>(values), count, DType::f32);
}

/// `count` floats as F64, F32, F16 or BF16 (round to nearest even), dtype_bytes(dtype, count) bytes. Parallel.
/// Throws Error(unsupported) for other dtypes.
void write_dtype(const float* values, int64_t count, DType dtype, std::byte* out);

}  // namespace mxq
