// SINQ's column scales (arXiv 2509.22944), as published: the strongest data-free quantizer to compare ours with.
#pragma once

#include <cstdint>
#include <vector>

#include "mxq/tensor.h"

namespace mxq {

/// For each tile of `tile` columns (the last may be narrower) over all rows: rows and columns are divided by their
/// standard deviations, both at once, each step's factor (deviation over the least of the tile) clamped to 0.7 .. 2 and
/// the whole to e^-0.3 .. e^10, for 16 rounds or until the imbalance (the largest deviation over the least) rises; the
/// columns' factors where it was least. Rows' factors are dropped, for groups have scales of their own; so is each
/// tile's common factor: t has geometric mean 1 in a tile, up to rounding to fp16. The weights are finite.
/// Deterministic whatever the thread count.
std::vector<float> sinq_scales(MatrixView matrix, int64_t tile);

}  // namespace mxq
