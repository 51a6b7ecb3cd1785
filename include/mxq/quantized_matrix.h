// One quantized matrix and the two operations on it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

/// One of the arrays of which a quantized matrix consists.
struct PartSpec {
  std::string_view name;  // "codes"
  DType dtype = DType::u8;
  int64_t elements = 0;

  int64_t bytes() const { return elements * dtype_block_bytes(dtype); }
};

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
  /// In the order in which they are stored: the family's, and with column scales `column_scales`, fp16 [K]. In this
  /// order each starts at a multiple of its element's size if the first one does.
  std::vector<PartSpec> parts() const;
  /// Of all parts together: storage_bytes().
  int64_t total_bytes() const;

  friend bool operator==(const QuantizedLayout&, const QuantizedLayout&) = default;
};

/// The layout that quantize_matrix gives a rows x cols matrix.
QuantizedLayout quantized_layout(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols);

/// The bytes of a quantized matrix, little-endian; docs/reference/checkpoint.md has each family's parts byte by byte.
/// W is what the family says, each row rotated back where the layout is rotated, times the column's scale. Arithmetic
/// in fp32.
struct QuantizedView {
  QuantizedLayout layout;
  std::vector<std::span<const std::byte>> parts;  // as layout.parts()

  /// Empty where the layout has no such part.
  std::span<const std::byte> part(std::string_view name) const;
};

struct QuantizedMatrix {
  QuantizedMatrix() = default;
  /// Zeroed.
  explicit QuantizedMatrix(const QuantizedLayout& layout);
  /// A copy.
  explicit QuantizedMatrix(const QuantizedView& view);

  QuantizedLayout layout;
  std::vector<std::vector<std::byte>> parts;  // as layout.parts()

  std::span<std::byte> part(std::string_view name);
  std::span<const std::byte> part(std::string_view name) const;
  QuantizedView view() const;
};

/// Quantizes one matrix. Deterministic whatever the thread count. A matrix without weights has no groups.
/// Throws Error(not_finite) naming row and column of the first NaN or infinity, Error(unsupported) for a scheme or
/// option outside the documented range, or Fit::gptq and Fit::awq, which take more than the weights.
QuantizedMatrix quantize_matrix(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options);

/// Writes rows * cols floats. Throws Error(invalid_file) if a part's length does not match the layout.
void dequantize_matrix(const QuantizedView& matrix, float* out);

/// Rows [first_row, first_row + rows) of it, rows * cols floats, bit for bit the same. Throws also Error(usage) for
/// rows outside the matrix. Cheap on axis 1; on axis 0 all groups have to be read.
void dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out);

/// ||W - Q(W)||_F for each scheme, equal (to fp64 rounding of the sum) to quantizing, dequantizing and subtracting.
std::vector<double> measure_matrix(MatrixView matrix, std::span<const Scheme> schemes, const QuantizeOptions& options);

}  // namespace mxq
