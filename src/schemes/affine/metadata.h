// Fitted scales and zeros as they are stored: on a grid, with the grid chosen for the block.
#pragma once

#include "schemes/affine/fit.h"

namespace mxq::affine {

/// A block's metadata: what is written and what a reader makes of it.
struct StoredBlock {
  // Metadata::q8 only.
  uint16_t scale_step = 0, zero_step = 0;  // fp16
  uint8_t scale_codes[kMaxSlots];
  int8_t zero_codes[kMaxSlots];
  // The values that a reader computes with, W = (q - zero) * scale, and what the codes are chosen with.
  alignas(64) float scale[kMaxSlots];
  alignas(64) float zero[kMaxSlots];
  alignas(64) float inverse_scale[kMaxSlots];
};

/// Puts the fitted groups of a block into the form that `metadata` can hold. Fit::mse takes the neighbours on the grid
/// into account and re-fits groups that the grid cannot reach; the other fits only round.
void store_metadata(const Block& block, int bits, Fit fit, Metadata metadata, const FittedBlock& fitted,
                    StoredBlock& stored);

}  // namespace mxq::affine
