#include "schemes/normalize.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/parallel.h"
#include "schemes/affine/fit_matrix.h"
#include "schemes/affine/metadata.h"
#include "schemes/column_scales.h"
#include "schemes/rotation.h"
#include "schemes/sinq_scales.h"

namespace mxq {

namespace {

/// Rows looked at to tell whether a matrix lies on a grid.
constexpr int64_t kSampledRows = 32;
/// The squared error on the grid may be this part of step^2 / 12, which weights that lie anywhere have.
constexpr double kOnGrid = 0.25;

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

bool lies_on_grid(int64_t rows, int64_t cols, const RowReader& read_row, const Scheme& scheme,
                  const QuantizeOptions& options) {
  if (options.axis != 1 || options.normalize == Normalize::none || options.normalize == Normalize::sinq) return false;
  const int64_t sampled = std::min(rows, kSampledRows);
  std::vector<float> sample(static_cast<size_t>(sampled * cols));
  for (int64_t i = 0; i < sampled; ++i) read_row(i * rows / sampled, sample.data() + i * cols);

  // What is not finite is refused where the matrix is quantized, with its place.
  if (!std::all_of(sample.begin(), sample.end(), [](float w) { return std::isfinite(w); })) return false;

  QuantizeOptions plain = options;
  plain.fit = Fit::mse;
  const affine::Grouping grouping(sampled, cols, scheme.group, plain.axis);
  struct Sums {
    double error = 0, rounding = 0;
  };
  std::vector<Sums> blocks(static_cast<size_t>(grouping.blocks()));
  affine::fit_matrix({sample.data(), sampled, cols}, grouping, {&scheme.bits, 1}, plain,
                     [&](const affine::Block& block, size_t, const affine::FittedBlock& fitted) {
                       affine::StoredBlock stored;
                       affine::store_metadata(block, scheme.bits, plain.fit, plain.metadata, fitted, stored);
                       blocks[static_cast<size_t>(block.index)] = {affine::squared_error(block, scheme.bits, stored),
                                                                   affine::squared_rounding(block, stored)};
                     });
  Sums all;
  for (const Sums& block : blocks) {
    all.error += block.error;
    all.rounding += block.rounding;
  }
  return all.error < kOnGrid * all.rounding;
}

bool lies_on_grid(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options) {
  const auto read_row = [matrix](int64_t row, float* out) {
    std::copy_n(matrix.data + row * matrix.cols, matrix.cols, out);
  };
  return lies_on_grid(matrix.rows, matrix.cols, read_row, scheme, options);
}

NormalizedMatrix normalize_matrix(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options) {
  if (!lies_on_grid(matrix, scheme, options)) return normalize_matrix(matrix, options.normalize, scheme.group);
  NormalizedMatrix result;
  result.view = matrix;
  result.scales.assign(static_cast<size_t>(matrix.cols), 1.0f);
  return result;
}

}  // namespace mxq
