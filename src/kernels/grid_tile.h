// Inner loops of fits onto grids that are given, on tiles (see affine_tile.h): what codes cost, and the sums that
// better grids for them are solved from. As there, no kernel fuses multiply and add, and the `_ref` twins give the same
// bits.
#pragma once

#include "kernels/affine_tile.h"

namespace mxq {

// `weights` as in affine_tile.h. Codes are q = round(w * inverse_scale + zero), half to even, within 0..max_code;
// scales may be negative.
#define MXQ_GRID_TILE_KERNELS                                                                                    \
  /* Of each lane: the sum of weights * (w - (q - zero) * scale)^2. */                                           \
  void tile_grid_error(const float* tile, const float* weights, int n, int max_code, const float* inverse_scale, \
                       const float* scale, const float* zero, float* error);                                     \
  /* Of each lane, with c = q - shift: the sums of weights * c, of weights * c^2 and of weights * c * w. */      \
  void tile_grid_sums(const float* tile, const float* weights, int n, int max_code, const float* inverse_scale,  \
                      const float* zero, const float* shift, float* of_codes, float* of_squares, float* with_weights);

MXQ_GRID_TILE_KERNELS

namespace ref {
MXQ_GRID_TILE_KERNELS
}

}  // namespace mxq
