#include "mxq/quantized_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/bitpack.h"
#include "base/parallel.h"
#include "kernels/weight_rows.h"
#include "mxq/error.h"
#include "schemes/family.h"
#include "schemes/feedback/columns.h"
#include "schemes/normalize/normalize.h"
#include "schemes/validate.h"

namespace mxq {

namespace {

/// Index among the layout's parts, or their number.
size_t part_index(const QuantizedLayout& layout, std::string_view name) {
  const auto specs = layout.parts();
  const auto found = std::find_if(specs.begin(), specs.end(), [&](const PartSpec& spec) { return spec.name == name; });
  return static_cast<size_t>(found - specs.begin());
}

/// Its part of that name; empty where it has none.
template <typename Bytes, typename Matrix>
Bytes find_part(Matrix& matrix, std::string_view name) {
  const size_t index = part_index(matrix.layout, name);
  return index < matrix.parts.size() ? Bytes(matrix.parts[index]) : Bytes();
}

QuantizedMatrix quantize_normalized(const NormalizedMatrix& normalized, const Scheme& scheme,
                                    const QuantizeOptions& options) {
  QuantizedMatrix out = normalized_output(normalized, scheme, options);
  if (normalized.view.size() > 0) family_of(scheme.family).quantize(normalized.view, options, out);
  return out;
}

}  // namespace

int64_t QuantizedLayout::code_row_bytes() const {
  return packed_bytes(cols, scheme.bits);
}

std::vector<PartSpec> QuantizedLayout::parts() const {
  auto specs = family_of(scheme.family).parts(*this);
  if (has_column_scales) specs.push_back({"column_scales", DType::f16, cols});
  return specs;
}

int64_t QuantizedLayout::total_bytes() const {
  int64_t bytes = 0;
  for (const PartSpec& part : parts()) bytes += part.bytes();
  return bytes;
}

QuantizedLayout quantized_layout(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) {
  return {rows,
          cols,
          scheme,
          options.axis,
          options.metadata,
          options.normalize != Normalize::none,
          options.normalize == Normalize::rotation};
}

int64_t storage_bytes(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) {
  return quantized_layout(scheme, options, rows, cols).total_bytes();
}

std::span<const std::byte> QuantizedView::part(std::string_view name) const {
  return find_part<std::span<const std::byte>>(*this, name);
}

QuantizedMatrix::QuantizedMatrix(const QuantizedLayout& matrix_layout) : layout(matrix_layout) {
  for (const PartSpec& spec : layout.parts()) parts.emplace_back(static_cast<size_t>(spec.bytes()));
}

QuantizedMatrix::QuantizedMatrix(const QuantizedView& view) : layout(view.layout) {
  for (const auto bytes : view.parts) parts.emplace_back(bytes.begin(), bytes.end());
}

std::span<std::byte> QuantizedMatrix::part(std::string_view name) {
  return find_part<std::span<std::byte>>(*this, name);
}

std::span<const std::byte> QuantizedMatrix::part(std::string_view name) const {
  return find_part<std::span<const std::byte>>(*this, name);
}

QuantizedView QuantizedMatrix::view() const {
  return {layout, {parts.begin(), parts.end()}};
}

QuantizedMatrix quantize_matrix(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options) {
  constexpr const char* kOperation = "quantize matrix";
  family_of(scheme.family).check(scheme, options.axis, options.metadata, kOperation);
  check_weight_only(options.fit, kOperation);
  check_shape(matrix.rows, matrix.cols, kOperation);
  check_columns(scheme, matrix.cols, kOperation);
  check_finite(matrix, kOperation);
  return quantize_normalized(normalize_matrix(matrix, scheme, options), scheme, options);
}

void dequantize_matrix(const QuantizedView& matrix, float* out) {
  dequantize_rows(matrix, 0, matrix.layout.rows, out);
}

void dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) {
  constexpr const char* kOperation = "dequantize matrix";
  const QuantizedLayout& layout = matrix.layout;
  const SchemeFamily& family = family_of(layout.scheme.family);
  family.check(layout.scheme, layout.axis, layout.metadata, kOperation);
  check_shape(layout.rows, layout.cols, kOperation);
  check_columns(layout.scheme, layout.cols, kOperation);
  const auto specs = layout.parts();
  if (matrix.parts.size() != specs.size()) {
    throw Error(ErrorCode::invalid_file, kOperation, fmt::format("{} parts", matrix.parts.size()),
                fmt::format("{} for this scheme", specs.size()));
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    if (static_cast<int64_t>(matrix.parts[i].size()) == specs[i].bytes()) continue;
    throw Error(ErrorCode::invalid_file, kOperation,
                fmt::format("{} bytes of {}", matrix.parts[i].size(), specs[i].name),
                fmt::format("{} for this shape and scheme", specs[i].bytes()));
  }
  if (first_row < 0 || rows < 0 || first_row > layout.rows || rows > layout.rows - first_row) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("{} rows from row {} on", rows, first_row),
                fmt::format("{} rows in all", layout.rows));
  }
  if (rows == 0 || layout.cols == 0) return;
  family.dequantize_rows(matrix, first_row, rows, out);
  undo_normalization(matrix, rows, out);
}

std::vector<double> measure_matrix(MatrixView matrix, std::span<const Scheme> schemes, const QuantizeOptions& options) {
  constexpr const char* kOperation = "measure matrix";
  check_shape(matrix.rows, matrix.cols, kOperation);
  check_weight_only(options.fit, kOperation);
  std::map<std::string_view, std::vector<size_t>> by_family;  // indices of schemes
  for (size_t i = 0; i < schemes.size(); ++i) {
    family_of(schemes[i].family).check(schemes[i], options.axis, options.metadata, kOperation);
    check_columns(schemes[i], matrix.cols, kOperation);
    by_family[schemes[i].family].push_back(i);
  }
  check_finite(matrix, kOperation);
  std::vector<double> norms(schemes.size(), 0.0);
  if (matrix.size() == 0) return norms;
  SharedNormalization normalization(matrix, options.normalize);
  for (const auto& [name, which] : by_family) {
    std::vector<Scheme> own;
    for (const size_t i : which) own.push_back(schemes[i]);
    const auto measured = family_of(name).measure(matrix, own, options, normalization);
    for (size_t i = 0; i < which.size(); ++i) norms[which[i]] = measured[i];
  }
  return norms;
}

std::vector<double> SchemeFamily::measure(MatrixView matrix, std::span<const Scheme> schemes,
                                          const QuantizeOptions& options, SharedNormalization& normalization) const {
  std::vector<double> norms;
  for (const Scheme& scheme : schemes) {
    norms.push_back(lies_on_grid(matrix, scheme, options)
                        ? quantized_error_norm(matrix, left_as_it_is(matrix), scheme, options)
                        : quantized_error_norm(matrix, normalization.of(scheme.group), scheme, options));
  }
  return norms;
}

void SchemeFamily::code_matrix(MatrixView matrix, const FeedbackFactor& factor, QuantizedMatrix& out) const {
  feedback::code_by_columns(matrix, factor, *group_coding(matrix, factor, out), out);
}

std::unique_ptr<feedback::GroupCoding> SchemeFamily::group_coding(MatrixView, const FeedbackFactor&,
                                                                  QuantizedMatrix& out) const {
  throw Error(ErrorCode::unsupported, "code with feedback", fmt::format("scheme {}", out.layout.scheme.name()),
              "families that take it");
}

bool SchemeFamily::holds_as_they_are(MatrixView, const Scheme&, const QuantizeOptions&) const {
  return false;
}

double squared_error_norm(MatrixView matrix, const QuantizedView& quantized) {
  // Summed row by row, then over the rows in order, so that threads make no difference.
  constexpr int64_t kRows = 64;
  const int64_t cols = matrix.cols;
  std::vector<double> sums(static_cast<size_t>(matrix.rows), 0.0);
  parallel_for((matrix.rows + kRows - 1) / kRows, [&](int64_t chunk) {
    const int64_t first = chunk * kRows, rows = std::min(kRows, matrix.rows - first);
    std::vector<float> back(static_cast<size_t>(rows * cols));
    dequantize_rows(quantized, first, rows, back.data());
    for (int64_t r = 0; r < rows; ++r) {
      sums[static_cast<size_t>(first + r)] =
          squared_distance(matrix.data + (first + r) * cols, back.data() + r * cols, cols);
    }
  });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

double quantized_error_norm(MatrixView matrix, const NormalizedMatrix& normalized, const Scheme& scheme,
                            const QuantizeOptions& options) {
  return squared_error_norm(matrix, quantize_normalized(normalized, scheme, options).view());
}

}  // namespace mxq
