// Levels and scales of a codebook while errors are fed back.
#pragma once

#include <memory>
#include <span>

#include "mxq/quantized_matrix.h"
#include "schemes/feedback/group_coding.h"

namespace mxq::codebook {

/// Steps of q8 with room above what the weights as they are ask for; then each group's scale by least squares, weighted
/// by what errors cost, on their grid. `out` must outlive it.
std::unique_ptr<feedback::GroupCoding> codebook_coding(MatrixView matrix, std::span<const float> levels,
                                                       QuantizedMatrix& out);

}  // namespace mxq::codebook
