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
  // The values that a reader computes with, W = (q - zero) * scale, and what the codes are chosen with. Where `biased`,
  // a reader computes q * scale + bias, which is the same up to the rounding of fp32.
  bool biased = false;
  alignas(64) float scale[kMaxSlots];
  alignas(64) float zero[kMaxSlots];
  alignas(64) float inverse_scale[kMaxSlots];
  alignas(64) float bias[kMaxSlots];

  /// What a reader makes of a code of the group.
  float value(int slot, uint8_t code) const {
    const auto q = static_cast<float>(code);
    if (!biased) return (q - zero[slot]) * scale[slot];
    const float product = q * scale[slot];
    return product + bias[slot];
  }
};

/// Puts the fitted groups of a block into the form that `metadata` can hold. Fit::mse takes the neighbours on the grid
/// into account and re-fits groups that the grid cannot reach; the other fits only round.
void store_metadata(const Block& block, int bits, Fit fit, Metadata metadata, const FittedBlock& fitted,
                    StoredBlock& stored);

/// Metadata::q8 of the groups of one tile, of n weights each, on grids whose steps are given: as Fit::mse would, with
/// `weights` for the squared errors (see kernels/affine_tile.h). Uses entries 0 to kTileLanes - 1 of `fitted` and fills
/// those of `stored`, but for its steps. error: weighted, of each lane.
void store_on_grid(const float* tile, const float* weights, int n, int bits, const MetadataSteps& steps,
                   const FittedBlock& fitted, StoredBlock& stored, float* error);

/// Sum of (w - W)^2 over a block, as stored.
double squared_error(const Block& block, int bits, const StoredBlock& stored);
/// What that would be of weights that lie anywhere between the steps: step^2 / 12 each.
double squared_rounding(const Block& block, const StoredBlock& stored);

}  // namespace mxq::affine
