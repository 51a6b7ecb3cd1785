// The fits of a whole matrix, block after block on all threads.
#pragma once

#include <functional>
#include <span>

#include "schemes/affine/fit.h"

namespace mxq::affine {

/// What is done with a fitted block: widths[which] is its bit width. Called from many threads, once a (block, width).
using BlockConsumer = std::function<void(const Block& block, size_t which, const FittedBlock& fitted)>;

/// Fits every block of the matrix at each of the bit widths. The tiles are made once for all widths. Fit::rtn and
/// Fit::mse hold one block a thread; Fit::hqq, whose stopping rule looks at the whole matrix, a copy of the matrix.
void fit_matrix(MatrixView matrix, const Grouping& grouping, std::span<const int> widths,
                const QuantizeOptions& options, const BlockConsumer& consume);

}  // namespace mxq::affine
