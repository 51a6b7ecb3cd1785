// Scalar twins of the level kernels: one lane after the other. The SIMD ones must give the same bits.
#include "kernels/level_tile.h"

namespace mxq::ref {

namespace {

int nearest(const TileLevels& levels, float t) {
  int code = 0;
  for (int m = 0; m + 1 < levels.count; ++m) code += t > levels.midpoint[m];
  return code;
}

}  // namespace

void tile_level_sums(const float* tile, const float* weights, int n, const TileLevels& levels,
                     const float* inverse_scale, float* with_levels, float* of_levels) {
  for (int l = 0; l < kTileLanes; ++l) {
    float with = 0, of = 0;
    for (int i = 0; i < n; ++i) {
      const float w = tile[i * kTileLanes + l];
      const float level = levels.level[nearest(levels, w * inverse_scale[l])];
      const float weighted = weights != nullptr ? level * weights[i] : level;
      with = with + weighted * w;
      of = of + weighted * level;
    }
    with_levels[l] = with;
    of_levels[l] = of;
  }
}

void tile_level_codes(const float* tile, int n, const TileLevels& levels, const float* inverse_scale, uint8_t* codes) {
  for (int i = 0; i < n; ++i) {
    for (int l = 0; l < kTileLanes; ++l) {
      const float t = tile[i * kTileLanes + l] * inverse_scale[l];
      codes[i * kTileLanes + l] = static_cast<uint8_t>(nearest(levels, t));
    }
  }
}

}  // namespace mxq::ref
