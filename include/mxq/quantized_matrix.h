// One quantized matrix and the two operations on it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

/// What has to be known to read a quantized matrix's bytes.
struct QuantizedLayout {
  int64_t rows = 0;  // N
  int64_t cols = 0;  // K
  Scheme scheme;
  int axis = 1;
  Metadata metadata = Metadata::q8;
  bool has_column_scales = false;
  bool rotated = false;

  int64_t groups() const { return group_count(scheme, axis, rows, cols); }
  /// Axis 1: bytes from one row's codes to the next one's, a whole number of bytes.
  int64_t code_row_bytes() const;
  /// Bytes of each part; their sum is storage_bytes().
  int64_t code_bytes() const;
  int64_t scale_bytes() const;  // of `scales`; `zeros` has as many
  int64_t step_bytes() const;   // of `scale_steps`; `zero_steps` has as many
  int64_t column_scale_bytes() const;
  int64_t total_bytes() const;
};

/// The layout that quantize_matrix gives a rows x cols matrix.
QuantizedLayout quantized_layout(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols);

/// The bytes of a quantized matrix, little-endian; docs/checkpoint.md has the layout byte by byte.
///   codes        dense LSB-first bit streams: code i of a stream occupies bits [b*i, b*i + b).
///                axis 1: one stream a row, of K codes, padded to a whole byte. axis 0: one stream, row-major.
///                Zero bytes pad the whole to a multiple of 4.
///   scales       q8: u8; f16, f32: the scale s itself
///   zeros        q8: i8; f16, f32: the zero z itself
///   scale_steps  q8: fp16 per kGroupsPerStep consecutive groups: s = step * u8
///   zero_steps   q8: likewise: z = (2^b - 1)/2 - step * i8
///   column_scales  fp16 [K], optional
/// and W = (code - z) * s, each row rotated back where the layout is rotated (docs/checkpoint.md), times the column's
/// scale. Arithmetic in fp32.
struct QuantizedView {
  QuantizedLayout layout;
  std::span<const std::byte> codes, scales, zeros, scale_steps, zero_steps, column_scales;
};

struct QuantizedMatrix {
  QuantizedLayout layout;
  std::vector<std::byte> codes, scales, zeros, scale_steps, zero_steps, column_scales;

  QuantizedView view() const { return {layout, codes, scales, zeros, scale_steps, zero_steps, column_scales}; }
};

/// Quantizes one matrix. Deterministic whatever the thread count. A matrix without weights has no groups.
/// Throws Error(not_finite) naming row and column of the first NaN or infinity, Error(unsupported) for a scheme or
/// option outside the documented range, or Fit::gptq, which takes more than the weights.
QuantizedMatrix quantize_matrix(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options);

/// Writes rows * cols floats. Throws Error(invalid_file) if a part's length does not match the layout.
void dequantize_matrix(const QuantizedView& matrix, float* out);

/// Rows [first_row, first_row + rows) of it, rows * cols floats, bit for bit the same. Throws also Error(usage) for
/// rows outside the matrix. Cheap on axis 1; on axis 0 all groups have to be read.
void dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out);

/// ||W - Q(W)||_F for each scheme, equal (to fp64 rounding of the sum) to quantizing, dequantizing and subtracting.
std::vector<double> measure_matrix(MatrixView matrix, std::span<const Scheme> schemes, const QuantizeOptions& options);

}  // namespace mxq
