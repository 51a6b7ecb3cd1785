// Inner loops of the codebook fits, on tiles (see affine_tile.h): a code stands for a level of a table, W = level * s.
// As there, no kernel fuses multiply and add, and the `_ref` twins give the same bits.
#pragma once

#include <cstdint>

#include "kernels/affine_tile.h"

namespace mxq {

inline constexpr int kMostLevels = 16;

/// 4, 8 or 16 levels, ascending; a value between two belongs to the nearer one, half way to the lower.
struct TileLevels {
  int count = 4;
  float level[kMostLevels] = {};
  float midpoint[kMostLevels] = {};  // midpoint[i] between levels i and i + 1
};

// `weights` as in affine_tile.h; inverse_scale of each lane, 0 for groups that become zeros.
#define MXQ_LEVEL_TILE_KERNELS                                                                                      \
  /* With L the level nearest to w * inverse_scale: sums over the group of weights * w * L and of weights * L^2. */ \
  void tile_level_sums(const float* tile, const float* weights, int n, const TileLevels& levels,                    \
                       const float* inverse_scale, float* with_levels, float* of_levels);                           \
  /* codes[i * 16 + l]: the number of that level. */                                                                \
  void tile_level_codes(const float* tile, int n, const TileLevels& levels, const float* inverse_scale, uint8_t* codes);

MXQ_LEVEL_TILE_KERNELS

namespace ref {
MXQ_LEVEL_TILE_KERNELS
}

}  // namespace mxq
