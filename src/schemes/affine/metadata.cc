#include "schemes/affine/metadata.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/half.h"
#include "schemes/affine/bias.h"
#include "schemes/affine/bounded.h"

namespace mxq::affine {

namespace {

constexpr float kLargestHalf = 65504.0f;
/// Beyond these an fp16 / fp32 zero is coarser than half / an eighth of a code.
constexpr float kHalfOffsetLimit = 1000.0f;
constexpr float kFloatOffsetLimit = 0x1p18f;

}  // namespace

double squared_error(const Block& block, int bits, const StoredBlock& stored) {
  if (stored.biased) return biased_squared_error(block, bits, stored);
  double sum = 0, errors[kTileLanes];
  for (int t = 0; t < block.tile_count; ++t) {
    const int slot = t * kTileLanes;
    tile_squared_error(block.tile_data(t), block.tiles[t].n, (1 << bits) - 1, stored.inverse_scale + slot,
                       stored.scale + slot, stored.zero + slot, errors);
    for (int l = 0; l < block.tiles[t].lanes; ++l) sum += errors[l];
  }
  return sum;
}

double squared_rounding(const Block& block, const StoredBlock& stored) {
  double sum = 0;
  for (int t = 0; t < block.tile_count; ++t) {
    for (int l = 0; l < block.tiles[t].lanes; ++l) {
      const double step = stored.scale[t * kTileLanes + l];
      sum += block.tiles[t].n * step * step / 12;
    }
  }
  return sum;
}

namespace {

/// Codes of a whole block under one pair of steps, and their squared error.
struct Snapped {
  uint16_t scale_step = 0, zero_step = 0;
  uint8_t scale_codes[kMaxSlots];
  int8_t zero_codes[kMaxSlots];
  double error = 0;
};

/// How far around the nearest point of the grid Fit::mse looks. Zeros move by about 0.15 of a code, less does nothing.
SnapSearch grid_search(int max_code, float zero_step) {
  const float stride = std::min(0.15f / std::max(zero_step, 1e-3f), 32.0f);
  const bool wide = max_code >= (1 << kWideCodes) - 1;
  return {
      .scale_reach = wide ? 8 : 1, .zero_reach = wide ? 6 : 3, .zero_stride = std::max(1, static_cast<int>(stride))};
}

void snap(const Block& block, int max_code, Fit fit, const BoundedBlock& bounded, Snapped& out) {
  float scale = 0, offset = 0;
  for (int slot = 0; slot < block.tile_count * kTileLanes; ++slot) {
    scale = std::max(scale, bounded.scale[slot]);
    offset = std::max(offset, std::fabs(bounded.center[slot]) * inverse_or_zero(bounded.scale[slot]));
  }
  out.scale_step = f16_at_least(scale / 255.0f);
  out.zero_step = f16_at_least(offset / 127.0f);
  MetadataSteps steps;
  std::fill_n(steps.scale, kTileLanes, f32_from_f16(out.scale_step));
  std::fill_n(steps.zero, kTileLanes, f32_from_f16(out.zero_step));
  const SnapSearch search = fit == Fit::mse ? grid_search(max_code, steps.zero[0]) : SnapSearch{};
  out.error = 0;
  alignas(64) float error[kTileLanes];
  for (int t = 0; t < block.tile_count; ++t) {
    const int slot = t * kTileLanes;
    tile_snap(block.tile_data(t), nullptr, block.tiles[t].n, max_code, steps, search, bounded.scale + slot,
              bounded.center + slot, out.scale_codes + slot, out.zero_codes + slot, error);
    for (int l = 0; l < block.tiles[t].lanes; ++l) out.error += error[l];
  }
}

/// Largest and typical scale and |centre / scale| of a block.
struct Spread {
  float largest = 0, typical = 0;
};

Spread spread_of(float* values, int n) {
  if (n == 0) return {};
  std::nth_element(values, values + n / 2, values + n);
  const float typical = values[n / 2];
  return {*std::max_element(values + n / 2, values + n), typical};
}

/// The scale that the neediest group takes when centres must lie within offset_limit scales: its own, or the one with
/// which its span, pushed inwards, still ends where it did.
float needed_scale(const Block& block, int max_code, const FittedBlock& fitted, float offset_limit) {
  const float middle = 0.5f * static_cast<float>(max_code);
  float needed = 0;
  for (int slot = 0; slot < block.tile_count * kTileLanes; ++slot) {
    const float scale = fitted.scale[slot], center = std::fabs(fitted.center[slot]);
    const bool within = center <= offset_limit * scale;
    needed = std::max(needed,
                      within ? scale : center / (offset_limit + middle) + scale * (middle / (offset_limit + middle)));
  }
  return needed;
}

/// Metadata::q8. Mostly the block's largest scale and offset set the steps. Where some groups dwarf the others, lower
/// limits are tried: first of the offsets (a zero step of one code, 127 / 127, serves any group), then of the scales;
/// what lowers the block's squared error is kept.
void choose_grid(const Block& block, int max_code, Fit fit, const FittedBlock& fitted, Snapped& best) {
  const float middle = 0.5f * static_cast<float>(max_code);
  constexpr float kLargestOffset = 127.0f;
  float scales[kMaxSlots], offsets[kMaxSlots];
  const int slots = block.tile_count * kTileLanes;
  int n = 0;
  for (int slot = 0; slot < slots; ++slot) {
    if (fitted.scale[slot] < kSmallestScale) continue;  // constant groups follow the others
    scales[n] = fitted.scale[slot];
    offsets[n] = std::fabs(fitted.center[slot]) / fitted.scale[slot];
    ++n;
  }
  const Spread scale = spread_of(scales, n), offset = spread_of(offsets, n);
  const float usual_offset = std::max(offset.typical, middle);
  BoundedBlock bounded;
  const auto attempt = [&](const MetadataRange& limits, Snapped& out) {
    bound(block, max_code, fit, fitted, limits, bounded);
    snap(block, max_code, fit, bounded, out);
  };
  MetadataRange range{.offset_limit = n > 0 ? std::min(offset.largest, kLargestOffset) : middle};
  range.scale_limit = needed_scale(block, max_code, fitted, range.offset_limit);
  attempt(range, best);
  constexpr float kOutlier = 6.0f;
  const bool outliers = range.scale_limit > kOutlier * scale.typical || offset.largest > 3 * usual_offset;
  if (!outliers || !(best.error > 0)) return;

  Snapped other;
  const auto consider = [&](const MetadataRange& limits) {
    attempt(limits, other);
    if (!(other.error < best.error)) return;
    best = other;
    range = limits;
  };
  for (float limit = kLargestOffset; limit > 0.25f * usual_offset; limit *= 0.5f) {
    consider({needed_scale(block, max_code, fitted, limit), limit});
  }
  MetadataRange trial = range;
  for (int halvings = 0; halvings < 20 && trial.scale_limit > scale.typical; ++halvings) {
    trial.scale_limit *= 0.5f;
    consider(trial);
  }
}

void store_q8(const Block& block, int max_code, Fit fit, const FittedBlock& fitted, StoredBlock& stored) {
  const float middle = 0.5f * static_cast<float>(max_code);
  Snapped snapped;
  choose_grid(block, max_code, fit, fitted, snapped);
  stored.scale_step = snapped.scale_step;
  stored.zero_step = snapped.zero_step;
  const float scale_step = f32_from_f16(snapped.scale_step), zero_step = f32_from_f16(snapped.zero_step);
  for (int slot = 0; slot < block.tile_count * kTileLanes; ++slot) {
    stored.scale_codes[slot] = snapped.scale_codes[slot];
    stored.zero_codes[slot] = snapped.zero_codes[slot];
    stored.scale[slot] = static_cast<float>(snapped.scale_codes[slot]) * scale_step;
    stored.zero[slot] = middle - zero_step * static_cast<float>(snapped.zero_codes[slot]);
    stored.inverse_scale[slot] = inverse_or_zero(stored.scale[slot]);
  }
}

/// fp16 and fp32 metadata of fits that are known by centre and scale.
void store_floats(const Block& block, int max_code, Fit fit, bool half, const FittedBlock& fitted,
                  StoredBlock& stored) {
  const float middle = 0.5f * static_cast<float>(max_code);
  const MetadataRange range = half ? MetadataRange{kLargestHalf, kHalfOffsetLimit}
                                   : MetadataRange{std::numeric_limits<float>::max(), kFloatOffsetLimit};
  BoundedBlock bounded;
  bound(block, max_code, fit, fitted, range, bounded);
  for (int slot = 0; slot < block.tile_count * kTileLanes; ++slot) {
    float scale = bounded.scale[slot];
    float zero = middle - bounded.center[slot] * inverse_or_zero(scale);
    if (fitted.scale[slot] < kSmallestScale && !half) {
      // A constant group is exact: W = (0 - zero) * |c|, or 0 for zeros.
      const float c = fitted.center[slot];
      scale = std::fabs(c) >= kSmallestScale ? std::fabs(c) : 1.0f;
      zero = std::fabs(c) >= kSmallestScale ? -std::copysign(1.0f, c) : 0.0f;
    } else if (scale < kSmallestScale) {
      scale = 1.0f;
      zero = 0.0f;
    }
    if (half) {
      scale = f32_from_f16(f16_from_f32(std::min(scale, kLargestHalf)));
      zero = f32_from_f16(f16_from_f32(zero));
    }
    stored.scale[slot] = scale;
    stored.zero[slot] = zero;
    stored.inverse_scale[slot] = inverse_or_zero(scale);
  }
}

}  // namespace

void store_on_grid(const float* tile, const float* weights, int n, int bits, const MetadataSteps& steps,
                   const FittedBlock& fitted, StoredBlock& stored, float* error) {
  const int max_code = (1 << bits) - 1;
  const float middle = 0.5f * static_cast<float>(max_code);
  alignas(64) float scale[kTileLanes], center[kTileLanes];
  float widest_step = 0;
  for (int l = 0; l < kTileLanes; ++l) {
    scale[l] = fitted.scale[l];
    center[l] = fitted.center[l];
    widest_step = std::max(widest_step, steps.zero[l]);
    const MetadataRange range{255.0f * steps.scale[l], 127.0f * steps.zero[l]};
    if (scale[l] <= range.scale_limit && std::fabs(center[l]) <= range.offset_limit * scale[l]) continue;
    // Each lane has limits of its own; a scale of 0 keeps the others out.
    float alone_scale[kTileLanes] = {}, alone_center[kTileLanes] = {};
    alone_scale[l] = scale[l];
    alone_center[l] = center[l];
    tile_fit_bounded(tile, weights, n, max_code, range, kBoundedRounds, alone_scale, alone_center);
    scale[l] = alone_scale[l];
    center[l] = alone_center[l];
  }
  tile_snap(tile, weights, n, max_code, steps, grid_search(max_code, widest_step), scale, center, stored.scale_codes,
            stored.zero_codes, error);
  for (int l = 0; l < kTileLanes; ++l) {
    stored.scale[l] = static_cast<float>(stored.scale_codes[l]) * steps.scale[l];
    stored.zero[l] = middle - steps.zero[l] * static_cast<float>(stored.zero_codes[l]);
    stored.inverse_scale[l] = inverse_or_zero(stored.scale[l]);
  }
}

void store_metadata(const Block& block, int bits, Fit fit, Metadata metadata, const FittedBlock& fitted,
                    StoredBlock& stored) {
  const int max_code = (1 << bits) - 1;
  stored.biased = false;
  if (metadata == Metadata::q8) return store_q8(block, max_code, fit, fitted, stored);
  if (has_bias(metadata)) return store_biases(block, max_code, fit, metadata, fitted, stored);
  if (metadata == Metadata::f16 || fit == Fit::mse) {
    return store_floats(block, max_code, fit, metadata == Metadata::f16, fitted, stored);
  }
  for (int slot = 0; slot < block.tile_count * kTileLanes; ++slot) {
    stored.scale[slot] = 1.0f / fitted.inverse_scale[slot];
    stored.zero[slot] = fitted.zero[slot];
    stored.inverse_scale[slot] = fitted.inverse_scale[slot];
  }
}

}  // namespace mxq::affine
