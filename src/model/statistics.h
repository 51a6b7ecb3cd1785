// Moments and percentiles of a matrix's weights.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/model_source.h"
#include "mxq/inspect.h"
#include "mxq/tensor.h"

namespace mxq {

struct Moments {
  double norm = 0;      // Frobenius
  double kurtosis = 0;  // E[(w - mean)^4] / Var[w]^2; 0 for a constant or empty matrix
};

/// In fp64, the same bits whatever the thread count. Throws Error(not_finite) naming `name`, row and column of the
/// first weight that is NaN or infinite.
Moments moments(MatrixView matrix, const std::string& name);

/// The weights of a matrix, whose file need not stay in memory for that.
std::vector<float> read_weights(const ModelSource& model, const SourceTensor& tensor);
/// The same. Throws Error(not_finite) naming the matrix, row and column of the first that is none.
std::vector<float> read_finite(const ModelSource& model, const SourceTensor& tensor);

/// kPercentiles of |w|. Uses a copy of the matrix. All zero for an empty one.
std::array<double, 5> magnitude_percentiles(MatrixView matrix);

}  // namespace mxq
