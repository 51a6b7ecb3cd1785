#include "schemes/affine/fit.h"

#include <algorithm>
#include <cmath>

namespace mxq::affine {

namespace {

/// hqq 0.2.8: ranges up to this get scale 1, and inverse scales are at most 2e4.
constexpr float kHqqSmallestRange = 1e-4f;
constexpr float kHqqLargestInverse = 2e4f;
/// Not hqq's: keeps 1 / inverse_scale finite.
constexpr float kSmallestInverse = 3e-39f;

}  // namespace

void fit_rtn(const Block& block, int bits, FittedBlock& fitted) {
  const float top = static_cast<float>((1 << bits) - 1);
  alignas(64) float min[kTileLanes], max[kTileLanes];
  for (int t = 0; t < block.tile_count; ++t) {
    tile_min_max(block.tile_data(t), block.tiles[t].n, min, max);
    for (int l = 0; l < kTileLanes; ++l) {
      const int slot = t * kTileLanes + l;
      const float range = max[l] - min[l];
      // Python's number / tensor is a reciprocal and a product in torch.
      float inverse = range <= kHqqSmallestRange ? 1.0f : (1.0f / range) * top;
      if (std::isinf(range)) inverse = (0.5f * top) / (0.5f * max[l] - 0.5f * min[l]);  // hqq would give 0
      inverse = std::max(std::min(inverse, kHqqLargestInverse), kSmallestInverse);
      fitted.inverse_scale[slot] = inverse;
      fitted.zero[slot] = -min[l] * inverse;
      fitted.scale[slot] = (max[l] / top) - (min[l] / top);
      fitted.center[slot] = 0.5f * max[l] + 0.5f * min[l];
    }
  }
}

void centers_from_zeros(const Block& block, int bits, FittedBlock& fitted) {
  const float top = static_cast<float>((1 << bits) - 1), middle = 0.5f * top;
  for (int slot = 0; slot < block.tile_count * kTileLanes; ++slot) {
    if (fitted.scale[slot] * top <= kHqqSmallestRange) continue;
    const float scale = 1.0f / fitted.inverse_scale[slot];
    fitted.scale[slot] = scale;
    fitted.center[slot] = (middle - fitted.zero[slot]) * scale;
  }
}

namespace {

/// With many codes the best scale is next to the whole range, and the search over the stored grid finds it.
constexpr LeastSquaresSearch kQuickSearch{.shrinks = kShrinks, .starts = 1, .rounds_per_start = 1, .rounds = 0};

}  // namespace

void fit_mse(const Block& block, int bits, Metadata metadata, FittedBlock& fitted, const float* weights) {
  const bool quick = bits >= kWideCodes && metadata == Metadata::q8;
  alignas(64) float min[kTileLanes], max[kTileLanes];
  for (int t = 0; t < block.tile_count; ++t) {
    const int n = block.tiles[t].n, slot = t * kTileLanes;
    tile_min_max(block.tile_data(t), n, min, max);
    tile_fit_mse(block.tile_data(t), weights, n, (1 << bits) - 1, min, max, quick ? kQuickSearch : kThoroughSearch,
                 fitted.scale + slot, fitted.center + slot);
  }
}

}  // namespace mxq::affine
