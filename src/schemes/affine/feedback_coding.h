// Scales and zeros of the affine family while errors are fed back.
#pragma once

#include <memory>

#include "mxq/quantized_matrix.h"
#include "schemes/feedback/factor.h"
#include "schemes/feedback/group_coding.h"

namespace mxq::affine {

/// Steps of q8 with room above what the weights as they are ask for; then each group's scale and zero on their grid, as
/// factor.grid() says. `out` must outlive it.
std::unique_ptr<feedback::GroupCoding> affine_coding(MatrixView matrix, const FeedbackFactor& factor,
                                                     QuantizedMatrix& out);

}  // namespace mxq::affine
