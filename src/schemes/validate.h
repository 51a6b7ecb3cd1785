// What every operation on a matrix checks of its arguments.
#pragma once

#include <cstdint>

#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

/// Throws Error(unsupported) for fits that take more than the weights.
void check_weight_only(Fit fit, const char* operation);

/// Throws Error(unsupported) for negative shapes and those whose byte counts could overflow.
void check_shape(int64_t rows, int64_t cols, const char* operation);

/// Throws Error(unsupported) for rows that are not whole blocks of the scheme.
void check_columns(const Scheme& scheme, int64_t cols, const char* operation);

/// Throws Error(not_finite) naming row and column of the first NaN or infinity.
void check_finite(MatrixView matrix, const char* operation);

}  // namespace mxq
