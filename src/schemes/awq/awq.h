// AWQ: scales of input channels, found so that rounding the scaled weights costs the outputs least, and clipped weights
// (Lin et al., "AWQ: Activation-aware Weight Quantization", arXiv 2306.00978). Scales are those of the paper, powers of
// the inputs' mean magnitudes; the package AutoAWQ can also divide them by powers of the weights'. Both searches have
// AutoAWQ's steps.
#pragma once

#include <span>
#include <vector>

#include "mxq/quantized_matrix.h"

namespace mxq {

/// A matrix among those that multiply one input, and what it is quantized to by rounding to nearest.
struct AwqMatrix {
  MatrixView weights;
  Scheme scheme;
};

/// s for matrices of the same input x, which is divided by it, so that columns are multiplied: of
/// (mean |x|)^a / sqrt(largest * smallest), a = 0, 0.05, .. 0.95, those that lose least, the sum over the matrices of
/// tr(D H D^T) with D = Q(W diag(s)) diag(1/s) - W and H = second_moments, symmetric, [cols, cols] row-major. a = 0 is
/// no scaling at all: the result is never worse than that. mean_magnitudes: [cols], mean |x|. s is positive. Matrices
/// of schemes that are not affine take no part. Throws what quantize_matrix throws, Error(usage) for other shapes,
/// Error(not_finite) for magnitudes that are not.
std::vector<float> awq_scales(std::span<const AwqMatrix> matrices, std::span<const float> mean_magnitudes,
                              std::span<const float> second_moments, Metadata metadata);

/// Cuts the weights of each group of a row to a share of its largest magnitude, 1, 0.95, .. 0.55: the one that costs
/// the group's part of the outputs least, d^T H_gg d of the group's errors d and its block of the second moments.
/// `weights` is [rows, cols] of `matrix`.weights, whose values it replaces.
void awq_clip(const AwqMatrix& matrix, std::span<const float> second_moments, float* weights);

}  // namespace mxq
