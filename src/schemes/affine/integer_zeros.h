// Grids of 16-bit metadata with a bias whose zero is one of the codes, W = (code - zero) * scale: what GPTQ's and AWQ's
// files hold. The bias follows from the two, and whoever reads it back from a matrix has the zero by rounding. Codes
// are chosen, and errors measured, by W as the files say it.
#pragma once

#include "mxq/scheme.h"
#include "schemes/affine/metadata.h"

namespace mxq::affine {

/// Whether ZeroPoint::integer means these grids, which are fitted by least squares. With other metadata it means GPTQ's
/// as published, from the range.
inline bool fits_integer(Metadata metadata, ZeroPoint zero_point) {
  return has_bias(metadata) && zero_point == ZeroPoint::integer;
}

/// Zeros are multiples of it: a bias of BF16 is off by up to one code of 8 bits.
constexpr int zero_step(int bits, Metadata metadata) {
  return bits > 6 && metadata == Metadata::bf16_bias ? 4 : 1;
}

/// Whether Fit::mse fits them.
inline bool fits_integer(const QuantizeOptions& options) {
  return options.fit == Fit::mse && fits_integer(options.metadata, options.feedback.zero_point);
}

/// Scales (positive) and zeros of least squared error, weighted by `weights` as those of tile_fit_mse, for each lane of
/// a tile; a scale of 0 for a lane of zeros. Zeros are multiples of `step`.
void fit_integer_tile(const float* tile, const float* weights, int n, int bits, int step, float* scale, float* zero);

/// The same of a block: fills scale, zero and center.
void fit_integer(const Block& block, int bits, int step, FittedBlock& fitted);

/// `count` groups with these scales, as the metadata holds them, and zeros, which are put within the codes.
void store_integer(const float* scale, const float* zero, int count, int bits, Metadata metadata, StoredBlock& stored);

}  // namespace mxq::affine
