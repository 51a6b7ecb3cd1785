// Named tensors as they lie in a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// Element types of tensors in files. From q4_0 on: GGUF's blocks of 32 or 256 along the last dimension. More:
/// base/foreign_dtype.h.
enum class DType {
  f64,
  f32,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u8,
  boolean,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq1_s,
  iq1_m,
  iq2_xxs,
  iq2_xs,
  iq2_s,
  iq3_xxs,
  iq3_s,
  iq4_nl,
  iq4_xs,
  tq1_0,
  tq2_0,
  mxfp4,
};

/// Name as safetensors and GGUF spell it: "F32", "BF16", "Q4_1", ...
std::string_view dtype_name(DType dtype);

/// Elements in the smallest unit that can be stored (1, or 32 or 256 for the GGUF blocks) and that unit's bytes.
int64_t dtype_block_elements(DType dtype);
int64_t dtype_block_bytes(DType dtype);

/// True for the types that read_f32 (format/weights.h) accepts: F64, F32, F16, BF16 and the GGUF blocks.
bool dtype_is_weight(DType dtype);

/// A tensor in a file: row-major, the last dimension contiguous (GGUF's ne[0] is the last dimension here).
/// `bytes` points into a memory mapping that the store which made the view owns; its length has been checked
/// against dtype and shape.
struct TensorView {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  int64_t elements() const;
};

/// Bytes of `elements` elements of `dtype`. Throws Error(invalid_file) on overflow or a torn block.
int64_t dtype_bytes(DType dtype, int64_t elements);

/// A matrix of floats in memory, row-major and dense: rows = out_features (N), cols = in_features (K).
struct MatrixView {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;

  int64_t size() const { return rows * cols; }
};

}  // namespace mxq
