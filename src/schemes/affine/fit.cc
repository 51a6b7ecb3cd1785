#include "schemes/affine/fit.h"

#include <algorithm>
#include <cmath>

namespace mxq::affine {

namespace {

/// hqq 0.2.8: ranges up to this get scale 1, and inverse scales are at most 2e4.
constexpr float kHqqSmallestRange = 1e-4f;
constexpr float kHqqLargestInverse = 2e4f;
/// Not hqq's: keeps 1 / inverse_scale finite where max - min overflows.
constexpr float kSmallestInverse = 1e-37f;

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

void fit_mse(const Block& block, int bits, FittedBlock& fitted) {
  static constexpr float kShrinks[] = {1.0f, 0.9f, 0.8f, 0.7f};
  const LeastSquaresSearch search{.shrinks = kShrinks, .starts = 4, .rounds_per_start = 2, .rounds = 8};
  alignas(64) float min[kTileLanes], max[kTileLanes];
  for (int t = 0; t < block.tile_count; ++t) {
    const int n = block.tiles[t].n, slot = t * kTileLanes;
    tile_min_max(block.tile_data(t), n, min, max);
    tile_fit_mse(block.tile_data(t), n, (1 << bits) - 1, min, max, search, fitted.scale + slot, fitted.center + slot);
  }
}

}  // namespace mxq::affine
