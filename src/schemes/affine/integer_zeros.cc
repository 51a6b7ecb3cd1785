#include "schemes/affine/integer_zeros.h"

#include <algorithm>
#include <cmath>

#include "kernels/grid_tile.h"
#include "schemes/affine/bounded.h"
#include "schemes/affine/rounded_scale.h"

namespace mxq::affine {

namespace {

/// Zeros that are tried around the one that would be best if it could be any number, and scales to start from with
/// each, as parts of the one that would be best with it.
constexpr float kShifts[] = {0.0f, -1.0f, 1.0f, -2.0f, 2.0f};
constexpr float kParts[] = {1.0f, 0.94f, 0.88f, 1.06f, 1.12f};
constexpr int kRounds = 4;

}  // namespace

void fit_integer_tile(const float* tile, const float* weights, int n, int bits, int step, float* scale, float* zero) {
  const int max_code = (1 << bits) - 1;
  const auto largest = static_cast<float>(max_code), unit = static_cast<float>(step);
  const auto zero_at = [&](float real) {
    return std::clamp(unit * std::nearbyint(real / unit), 0.0f, unit * std::floor(largest / unit));
  };
  alignas(64) float min[kTileLanes], max[kTileLanes], any_scale[kTileLanes], center[kTileLanes];
  alignas(64) float inverse[kTileLanes], trial[kTileLanes], range_scale[kTileLanes], range_zero[kTileLanes];
  alignas(64) float codes[kTileLanes], squares[kTileLanes], with[kTileLanes], found[kTileLanes], best[kTileLanes];
  tile_min_max(tile, n, min, max);
  tile_fit_mse(tile, weights, n, max_code, min, max, kThoroughSearch, any_scale, center);
  std::fill_n(best, kTileLanes, -1.0f);
  std::fill_n(scale, kTileLanes, 0.0f);
  std::fill_n(zero, kTileLanes, 0.0f);
  // With a zero and codes, c apart, the best scale is sum(w c) / sum(c^2), which takes sum(w c)^2 / sum(c^2) off the
  // error. `found`: that scale.
  const auto look = [&](const float* with_zero) {
    tile_grid_sums(tile, weights, n, max_code, inverse, with_zero, with_zero, codes, squares, with);
    bool gained = false;
    for (int l = 0; l < kTileLanes; ++l) {
      found[l] = squares[l] > 0 ? with[l] / squares[l] : 0.0f;
      const float gain = with[l] * found[l];
      if (!(found[l] > 0) || !(gain > best[l]) || !std::isfinite(gain)) continue;
      best[l] = gain;
      scale[l] = found[l];
      zero[l] = with_zero[l];
      gained = true;
    }
    return gained;
  };
  // The range, widened to hold 0; by halves, for it may be more than a float holds.
  for (int l = 0; l < kTileLanes; ++l) {
    const float low = std::min(min[l], 0.0f), high = std::max(max[l], 0.0f);
    range_scale[l] = 2 * ((0.5f * high - 0.5f * low) / largest);
    range_zero[l] = range_scale[l] > 0 ? zero_at(-low / range_scale[l]) : 0.0f;
    inverse[l] = inverse_or_zero(range_scale[l]);
  }
  look(range_zero);
  for (const float shift : kShifts) {
    for (int l = 0; l < kTileLanes; ++l) {
      const float real = any_scale[l] > 0 ? 0.5f * largest - center[l] / any_scale[l] : range_zero[l];
      trial[l] = zero_at(unit * std::nearbyint(real / unit) + shift * unit);
    }
    for (const float part : kParts) {
      for (int l = 0; l < kTileLanes; ++l) inverse[l] = inverse_or_zero(part * any_scale[l]);
      look(trial);
      for (int l = 0; l < kTileLanes; ++l) inverse[l] = inverse_or_zero(found[l]);
      look(trial);
    }
  }
  for (int round = 0; round < kRounds; ++round) {
    for (int l = 0; l < kTileLanes; ++l) {
      inverse[l] = inverse_or_zero(scale[l]);
      trial[l] = zero[l];
    }
    if (!look(trial)) break;
  }
  // Where sums overflow, or vanish: the range.
  for (int l = 0; l < kTileLanes; ++l) {
    if (best[l] > 0) continue;
    scale[l] = range_scale[l];
    zero[l] = range_zero[l];
  }
}

void fit_integer(const Block& block, int bits, int step, FittedBlock& fitted) {
  const float middle = 0.5f * static_cast<float>((1 << bits) - 1);
  for (int t = 0; t < block.tile_count; ++t) {
    const int first = t * kTileLanes;
    fit_integer_tile(block.tile_data(t), nullptr, block.tiles[t].n, bits, step, fitted.scale + first,
                     fitted.zero + first);
    for (int l = first; l < first + kTileLanes; ++l) fitted.center[l] = (middle - fitted.zero[l]) * fitted.scale[l];
  }
}

void store_integer(const float* scale, const float* zero, int count, int bits, Metadata metadata, StoredBlock& stored) {
  const auto most = static_cast<float>((1 << bits) - 1);
  stored.biased = false;  // W is what the zero says
  for (int slot = 0; slot < count; ++slot) {
    const float nearest = rounded_scale(scale[slot], most, metadata);
    // Without a scale all codes are the zero, whose value is 0 with any.
    const bool none = nearest < kSmallestScale;
    stored.scale[slot] = none ? 1.0f : nearest;
    stored.inverse_scale[slot] = inverse_or_zero(none ? 0.0f : nearest);
    stored.zero[slot] = std::clamp(zero[slot], 0.0f, most);
    stored.bias[slot] = -stored.zero[slot] * stored.scale[slot];
  }
}

}  // namespace mxq::affine
