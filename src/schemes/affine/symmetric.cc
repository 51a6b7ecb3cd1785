#include "schemes/affine/symmetric.h"

#include <algorithm>
#include <cmath>

#include "kernels/grid_tile.h"
#include "schemes/affine/integer_zeros.h"
#include "schemes/affine/rounded_scale.h"

namespace mxq::affine {

namespace {

/// Ranges to start from, as parts of the largest magnitude, and how often codes and scale are then found in turn.
constexpr float kSpans[] = {0.54f, 0.62f, 0.70f, 0.76f, 0.81f, 0.86f, 0.90f, 0.94f, 0.97f, 1.0f, 1.04f, 1.10f};
constexpr int kRounds = 4;

/// Of a scale of either sign.
float inverse_of(float scale) {
  return std::fabs(scale) >= kSmallestScale ? 1.0f / scale : 0.0f;
}

}  // namespace

void fit_symmetric_tile(const float* tile, const float* weights, int n, int bits, float* scale) {
  const int max_code = (1 << bits) - 1;
  const auto middle = static_cast<float>(1 << (bits - 1));
  alignas(64) float min[kTileLanes], max[kTileLanes], zero[kTileLanes], inverse[kTileLanes];
  alignas(64) float codes[kTileLanes], squares[kTileLanes], with[kTileLanes], best[kTileLanes];
  tile_min_max(tile, n, min, max);
  std::fill_n(zero, kTileLanes, middle);
  std::fill_n(best, kTileLanes, -1.0f);
  std::fill_n(scale, kTileLanes, 0.0f);
  // With codes c the best scale is sum(w c) / sum(c^2), which takes sum(w c)^2 / sum(c^2) off the error.
  const auto look = [&] {
    tile_grid_sums(tile, weights, n, max_code, inverse, zero, zero, codes, squares, with);
    bool gained = false;
    for (int l = 0; l < kTileLanes; ++l) {
      if (!(squares[l] > 0)) continue;
      const float candidate = with[l] / squares[l], gain = with[l] * candidate;
      if (!(gain > best[l]) || !std::isfinite(gain)) continue;
      best[l] = gain;
      scale[l] = candidate;
      gained = true;
    }
    return gained;
  };
  for (const float sign : {1.0f, -1.0f}) {
    for (const float span : kSpans) {
      for (int l = 0; l < kTileLanes; ++l) {
        inverse[l] = inverse_of(sign * span * (std::max(std::fabs(min[l]), std::fabs(max[l])) / middle));
      }
      look();
    }
  }
  for (int round = 0; round < kRounds; ++round) {
    for (int l = 0; l < kTileLanes; ++l) inverse[l] = inverse_of(scale[l]);
    if (!look()) break;
  }
  // Where sums overflow, or vanish: the range.
  for (int l = 0; l < kTileLanes; ++l) {
    if (best[l] <= 0) scale[l] = std::max(std::fabs(min[l]), std::fabs(max[l])) / middle;
  }
}

void fit_symmetric(const Block& block, int bits, FittedBlock& fitted) {
  for (int t = 0; t < block.tile_count; ++t) {
    const int first = t * kTileLanes;
    fit_symmetric_tile(block.tile_data(t), nullptr, block.tiles[t].n, bits, fitted.scale + first);
    // The middle of the codes lies half a code below the zero.
    for (int l = 0; l < kTileLanes; ++l) fitted.center[first + l] = -0.5f * fitted.scale[first + l];
  }
}

void store_symmetric(const float* scale, int count, int bits, Metadata metadata, StoredBlock& stored) {
  const auto zero = static_cast<float>(1 << (bits - 1));
  stored.biased = true;
  for (int slot = 0; slot < count; ++slot) {
    const float nearest = rounded_scale(scale[slot], zero, metadata);
    // Without a scale all codes are the zero, whose value is 0 with any.
    const bool none = std::fabs(nearest) < kSmallestScale;
    stored.scale[slot] = none ? 1.0f : nearest;
    stored.inverse_scale[slot] = inverse_of(none ? 0.0f : nearest);
    stored.zero[slot] = zero;
    stored.bias[slot] = -zero * stored.scale[slot];
  }
}

void store_block(const Block& block, int bits, const QuantizeOptions& options, const FittedBlock& fitted,
                 StoredBlock& stored) {
  if (fits_symmetric(options)) {
    store_symmetric(fitted.scale, block.tile_count * kTileLanes, bits, options.metadata, stored);
  } else if (fits_integer(options)) {
    store_integer(fitted.scale, fitted.zero, block.tile_count * kTileLanes, bits, options.metadata, stored);
  } else {
    store_metadata(block, bits, options.fit, options.metadata, fitted, stored);
  }
}

}  // namespace mxq::affine
