#include "schemes/normalize/normalize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/half.h"
#include "base/parallel.h"
#include "schemes/family.h"
#include "schemes/normalize/column_scales.h"
#include "schemes/normalize/rotation.h"
#include "schemes/normalize/sinq_scales.h"

namespace mxq {

namespace {

/// Rows looked at to tell whether a matrix lies on a grid.
constexpr int64_t kSampledRows = 32;

}  // namespace

NormalizedMatrix normalize_matrix(MatrixView matrix, Normalize normalize, int64_t group) {
  NormalizedMatrix result;
  result.view = matrix;
  if (normalize == Normalize::none) return result;
  result.scales = normalize == Normalize::sinq ? sinq_scales(matrix, group) : column_scales({&matrix, 1});
  result.values.resize(static_cast<size_t>(matrix.size()));
  result.rotated = normalize == Normalize::rotation;
  const std::optional<Rotation> rotation = result.rotated ? std::optional<Rotation>(matrix.cols) : std::nullopt;
  parallel_for(matrix.rows, [&](int64_t r) {
    const float* from = matrix.data + r * matrix.cols;
    float* to = result.values.data() + r * matrix.cols;
    for (int64_t k = 0; k < matrix.cols; ++k) to[k] = from[k] / result.scales[static_cast<size_t>(k)];
    if (rotation) rotation->apply(to);
  });
  result.view.data = result.values.data();
  return result;
}

const NormalizedMatrix& SharedNormalization::of(int64_t group) {
  if (!made_ || (normalize_ == Normalize::sinq && group != group_)) {
    made_.reset();
    made_ = normalize_matrix(matrix_, normalize_, group);
    group_ = group;
  }
  return *made_;
}

bool lies_on_grid(int64_t rows, int64_t cols, const RowReader& read_row, const Scheme& scheme,
                  const QuantizeOptions& options) {
  if (options.axis != 1 || options.normalize == Normalize::none || options.normalize == Normalize::sinq) return false;
  const int64_t sampled = std::min(rows, kSampledRows);
  std::vector<float> sample(static_cast<size_t>(sampled * cols));
  for (int64_t i = 0; i < sampled; ++i) read_row(i * rows / sampled, sample.data() + i * cols);

  // What is not finite is refused where the matrix is quantized, with its place.
  if (!std::all_of(sample.begin(), sample.end(), [](float w) { return std::isfinite(w); })) return false;

  return family_of(scheme.family).holds_as_they_are({sample.data(), sampled, cols}, scheme, options);
}

bool lies_on_grid(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options) {
  const auto read_row = [matrix](int64_t row, float* out) {
    std::copy_n(matrix.data + row * matrix.cols, matrix.cols, out);
  };
  return lies_on_grid(matrix.rows, matrix.cols, read_row, scheme, options);
}

NormalizedMatrix normalize_matrix(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options) {
  return lies_on_grid(matrix, scheme, options) ? left_as_it_is(matrix)
                                               : normalize_matrix(matrix, options.normalize, scheme.group);
}

NormalizedMatrix left_as_it_is(MatrixView matrix) {
  NormalizedMatrix result;
  result.view = matrix;
  result.scales.assign(static_cast<size_t>(matrix.cols), 1.0f);
  return result;
}

QuantizedMatrix normalized_output(const NormalizedMatrix& normalized, const Scheme& scheme,
                                  const QuantizeOptions& options) {
  QuantizedMatrix out(quantized_layout(scheme, options, normalized.view.rows, normalized.view.cols));
  out.layout.rotated = normalized.rotated;
  const auto to = out.part("column_scales");
  for (size_t k = 0; k < normalized.scales.size(); ++k) {
    const uint16_t half = f16_from_f32(normalized.scales[k]);
    std::memcpy(to.data() + k * sizeof half, &half, sizeof half);
  }
  return out;
}

void undo_normalization(const QuantizedView& matrix, int64_t rows, float* values) {
  const QuantizedLayout& layout = matrix.layout;
  if (!layout.has_column_scales && !layout.rotated) return;
  const auto halves = matrix.part("column_scales");
  std::vector<float> scales(halves.size() / sizeof(uint16_t));
  for (size_t k = 0; k < scales.size(); ++k) {
    uint16_t half;
    std::memcpy(&half, halves.data() + k * sizeof half, sizeof half);
    scales[k] = f32_from_f16(half);
  }
  const std::optional<Rotation> rotation = layout.rotated ? std::optional<Rotation>(layout.cols) : std::nullopt;
  parallel_for(rows, [&](int64_t r) {
    float* row = values + r * layout.cols;
    if (rotation) rotation->undo(row);
    for (size_t k = 0; k < scales.size(); ++k) row[k] *= scales[k];
  });
}

}  // namespace mxq
