// Weights that make up for what the matrices before have changed in a matrix's inputs.
#pragma once

#include <span>
#include <vector>

#include "mxq/tensor.h"
#include "schemes/feedback/factor.h"

namespace mxq {

/// With inputs x where the model had y: W + share W (C - H) H^-1, C = mean of y x^T and H = mean of x x^T, so that the
/// outputs W' x come nearer to W y: with share 1 and nothing added to H, as near as they can in the mean of squares
/// (Zhang et al., "Qronos", arXiv 2505.11695, whose first step this is). H^-1 is that of the factor, damped and shrunk.
/// `moments` (the upper triangle counts) and `cross` are [cols, cols]; share 0 to 1. Deterministic whatever the thread
/// count. Throws Error(usage) for other lengths.
std::vector<float> corrected(MatrixView matrix, std::span<const float> moments, std::span<const float> cross,
                             const FeedbackFactor& factor, double share);

}  // namespace mxq
