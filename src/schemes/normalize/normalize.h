// The matrix that is quantized in place of another one, as Normalize says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "mxq/quantized_matrix.h"
#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

/// That one itself, or with its columns divided (column_scales.h, sinq_scales.h), or its rows rotated after that
/// (rotation.h).
struct NormalizedMatrix {
  std::vector<float> scales;  // t; empty: the matrix itself
  std::vector<float> values;  // empty: the matrix's own
  MatrixView view;
  bool rotated = false;
};
/// `group`: of the scheme; Normalize::sinq alone looks at it.
NormalizedMatrix normalize_matrix(MatrixView matrix, Normalize normalize, int64_t group);

/// The same, made once for all schemes that are tried on a matrix.
class SharedNormalization {
 public:
  SharedNormalization(MatrixView matrix, Normalize normalize) : matrix_(matrix), normalize_(normalize) {}

  /// normalize_matrix() for a scheme of this group; until it is asked for another.
  const NormalizedMatrix& of(int64_t group);

 private:
  MatrixView matrix_;
  Normalize normalize_;
  std::optional<NormalizedMatrix> made_;
  int64_t group_ = 0;  // for which
};

/// Whether weights have been quantized before, in such a way that the scheme holds them nearly as they are: no
/// normalization can be better then, and any would move them off the grid. The family tells by some of the
/// rows: affine where Fit::mse's squared error on them is a quarter of what rounding to such steps costs at most. Along
/// rows only: false for axis 0; and where nothing is normalized, or as others publish it (Normalize::sinq).
bool lies_on_grid(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options);
using RowReader = std::function<void(int64_t row, float* out)>;
bool lies_on_grid(int64_t rows, int64_t cols, const RowReader& read_row, const Scheme& scheme,
                  const QuantizeOptions& options);

/// What a scheme is applied to: weights that lie on its grid are left as they are, with t = 1 (bytes are those of the
/// scheme, whatever the weights).
NormalizedMatrix normalize_matrix(MatrixView matrix, const Scheme& scheme, const QuantizeOptions& options);

/// What that is for weights on the grid.
NormalizedMatrix left_as_it_is(MatrixView matrix);

/// What it is quantized into: zeroed, but for the scales of its columns.
QuantizedMatrix normalized_output(const NormalizedMatrix& normalized, const Scheme& scheme,
                                  const QuantizeOptions& options);

/// Rows of `matrix` as its family gives them, to what they were: rotated back, times the columns' scales. The parts'
/// lengths have been checked.
void undo_normalization(const QuantizedView& matrix, int64_t rows, float* values);

}  // namespace mxq
