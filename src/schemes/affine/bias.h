// A scale and a bias for each group, W = code * scale + bias, both in 16 bits: what MLX holds.
#pragma once

#include "schemes/affine/metadata.h"

namespace mxq::affine {

/// Metadata::f16_bias and bf16_bias. The bias is rounded before codes are chosen, so its error only moves the codes'
/// range. Where that is a noticeable part of a code, Fit::mse tries the biases on both sides, each with the scale that
/// spans the rest of the group, and keeps what loses least; the other fits only round.
void store_biases(const Block& block, int max_code, Fit fit, Metadata metadata, const FittedBlock& fitted,
                  StoredBlock& stored);

/// Sum of (w - W)^2 over a block, as stored, in the steps in which it is read.
double biased_squared_error(const Block& block, int bits, const StoredBlock& stored);

}  // namespace mxq::affine
