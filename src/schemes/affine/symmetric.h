// Symmetric grids of 16-bit metadata with a bias: the zero is the code 2^(bits - 1), so that the bias follows from the
// scale, W = (code - 2^(bits - 1)) * scale. What compressed-tensors holds.
#pragma once

#include "mxq/scheme.h"
#include "schemes/affine/metadata.h"

namespace mxq::affine {

/// Whether ZeroPoint::symmetric means these grids, which are fitted by least squares. With other metadata it means
/// AutoGPTQ's, from the largest magnitude.
inline bool fits_symmetric(Metadata metadata, ZeroPoint zero_point) {
  return has_bias(metadata) && zero_point == ZeroPoint::symmetric;
}

/// Whether Fit::mse fits them.
inline bool fits_symmetric(const QuantizeOptions& options) {
  return options.fit == Fit::mse && fits_symmetric(options.metadata, options.feedback.zero_point);
}

/// Scales of least squared error, weighted by `weights` as those of tile_fit_mse, for each lane of a tile; 0 for a lane
/// of zeros. Codes reach one further below the zero than above it, so a scale may be negative.
void fit_symmetric_tile(const float* tile, const float* weights, int n, int bits, float* scale);

/// The same of a block: fills scale and center.
void fit_symmetric(const Block& block, int bits, FittedBlock& fitted);

/// `count` groups with these scales as the metadata holds them: rounded, within what its bias can say too.
void store_symmetric(const float* scale, int count, int bits, Metadata metadata, StoredBlock& stored);

/// What `options` make of a fitted block: store_metadata(), or store_symmetric() of what fit_symmetric() has found, or
/// store_integer() of what fit_integer() has.
void store_block(const Block& block, int bits, const QuantizeOptions& options, const FittedBlock& fitted,
                 StoredBlock& stored);

}  // namespace mxq::affine
