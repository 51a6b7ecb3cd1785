#include "schemes/affine/bias.h"

#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "schemes/affine/bounded.h"

namespace mxq::affine {

namespace {

constexpr float kLargestF16 = 65504.0f, kLargestBf16 = 0x1.fep127f;
/// Beyond this, the sum of a code and a zero of fp32 is coarser than an eighth of a code.
constexpr float kOffsetLimit = 0x1p18f;
/// From this part of a code on, the rounding of a bias is noticed.
constexpr float kNoticed = 0.03f;

/// The numbers of one of the two formats, as fp32.
class Format {
 public:
  explicit Format(Metadata metadata) : bf16_(metadata == Metadata::bf16_bias) {}

  float largest() const { return bf16_ ? kLargestBf16 : kLargestF16; }
  float nearest(float value) const { return decode(encode(value)); }
  float at_most(float value) const {
    const uint16_t bits = encode(value);
    return decode(bits) > std::max(value, -largest()) ? decode(below(bits)) : decode(bits);
  }
  float at_least(float value) const { return -at_most(-value); }

 private:
  uint16_t encode(float value) const {
    value = std::clamp(value, -largest(), largest());
    return bf16_ ? bf16_from_f32(value) : f16_from_f32(value);
  }
  float decode(uint16_t bits) const { return bf16_ ? f32_from_bf16(bits) : f32_from_f16(bits); }
  /// The next lower number of a finite one that is not the lowest.
  static uint16_t below(uint16_t bits) {
    constexpr uint16_t kSign = 0x8000;
    if ((bits & ~kSign) == 0) return kSign | 1;
    return static_cast<uint16_t>((bits & kSign) != 0 ? bits + 1 : bits - 1);
  }

  bool bf16_;
};

/// What is stored of a group.
struct Pair {
  float scale = 1, bias = 0;
};

/// The other numbers of a group: those with which W = (q - zero) * scale is q * scale + bias.
void put(const Pair& pair, int slot, StoredBlock& stored) {
  float scale = pair.scale, zero = 0;
  if (scale >= kSmallestScale) {
    zero = -pair.bias / scale;
  } else if (std::fabs(pair.bias) >= kSmallestScale) {  // a constant: the code 0
    scale = std::fabs(pair.bias);
    zero = -std::copysign(1.0f, pair.bias);
  } else {
    scale = 1;
  }
  stored.scale[slot] = scale;
  stored.bias[slot] = pair.bias;
  stored.zero[slot] = zero;
  stored.inverse_scale[slot] = inverse_or_zero(scale);
}

/// Of the pairs around (scale, center) the one of least squared error, for each lane of a tile.
void search(const Block& block, int t, int max_code, const Format& format, const float* scale, const float* center,
            StoredBlock& stored) {
  const int first = t * kTileLanes;
  const float middle = 0.5f * static_cast<float>(max_code);
  double least[kTileLanes], error[kTileLanes];
  const auto errors_of = [&](const StoredBlock& trial, double* out) {
    tile_squared_error(block.tile_data(t), block.tiles[t].n, max_code, trial.inverse_scale + first, trial.scale + first,
                       trial.zero + first, out);
  };
  errors_of(stored, least);
  StoredBlock trial;
  for (const bool below : {true, false}) {
    for (const bool wide : {false, true}) {
      Pair pairs[kTileLanes];
      for (int l = 0; l < kTileLanes; ++l) {
        const float low = center[l] - middle * scale[l], high = center[l] + middle * scale[l];
        const float bias = below ? format.at_most(low) : format.at_least(low);
        const float span = std::max(0.0f, (high - bias) / static_cast<float>(max_code));
        pairs[l] = {wide ? format.at_least(span) : format.nearest(span), bias};
        put(pairs[l], first + l, trial);
      }
      errors_of(trial, error);
      for (int l = 0; l < kTileLanes; ++l) {
        if (!(error[l] < least[l])) continue;
        least[l] = error[l];
        put(pairs[l], first + l, stored);
      }
    }
  }
}

}  // namespace

void store_biases(const Block& block, int max_code, Fit fit, Metadata metadata, const FittedBlock& fitted,
                  StoredBlock& stored) {
  const Format format(metadata);
  const float middle = 0.5f * static_cast<float>(max_code);
  BoundedBlock bounded;
  bound(block, max_code, fit, fitted, {format.largest(), kOffsetLimit}, bounded);
  stored.biased = true;
  for (int t = 0; t < block.tile_count; ++t) {
    const float* const scale = bounded.scale + t * kTileLanes;
    const float* const center = bounded.center + t * kTileLanes;
    bool noticed = false;
    for (int l = 0; l < kTileLanes; ++l) {
      const float low = center[l] - middle * scale[l];
      const Pair pair{format.nearest(scale[l]), format.nearest(low)};
      put(pair, t * kTileLanes + l, stored);
      noticed |= std::fabs(pair.bias - low) > kNoticed * scale[l];
    }
    if (noticed && fit == Fit::mse) search(block, t, max_code, format, scale, center, stored);
  }
}

double biased_squared_error(const Block& block, int bits, const StoredBlock& stored) {
  alignas(64) uint8_t codes[256 * kTileLanes];
  double sum = 0;
  for (int t = 0; t < block.tile_count; ++t) {
    const Tile& tile = block.tiles[t];
    const int slot = t * kTileLanes;
    const float* const weights = block.tile_data(t);
    tile_codes(weights, tile.n, (1 << bits) - 1, stored.inverse_scale + slot, stored.zero + slot, codes);
    double errors[kTileLanes] = {};
    for (int i = 0; i < tile.n; ++i) {
      for (int l = 0; l < kTileLanes; ++l) {
        const double back = stored.value(slot + l, codes[i * kTileLanes + l]);
        const double error = weights[i * kTileLanes + l] - back;
        errors[l] += error * error;
      }
    }
    for (int l = 0; l < tile.lanes; ++l) sum += errors[l];
  }
  return sum;
}

}  // namespace mxq::affine
