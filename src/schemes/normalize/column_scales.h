// Column scales: what the columns of a matrix are divided by before it is quantized, found from the weights alone.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

/// One t for matrices of the same K that multiply the same input (one matrix, or q/k/v, or gate/up), as if they were
/// stacked. Within a tile of 64 columns, W_nk = r_n t_k X_nk with r and t such that all rows of X have the same root
/// mean square and so have all its columns: Sinkhorn's balancing (Sinkhorn & Knopp 1967) of the squared weights, which
/// is SINQ's normalisation (arXiv 2509.22944) with the root mean square for the standard deviation. Columns come first
/// and last. Groups have scales of their own, so r is dropped.
///
/// t is positive, of geometric mean 1 up to rounding, and exact in fp16, normal numbers only; 1 for a column of zeros,
/// and for all columns where a divided weight might overflow. Times c for a column times c, all then scaled back to
/// geometric mean 1. The weights are finite. Deterministic whatever the thread count or instruction set. Throws
/// Error(usage) for matrices of different K.
std::vector<float> column_scales(std::span<const MatrixView> matrices);

/// The t nearest to `value` that a checkpoint can hold: a normal number of fp16, at most 2^15.
float rounded_scale(double value);

}  // namespace mxq
