// Scalar twins of the grid kernels: one lane after the other. The SIMD ones must give the same bits.
#include <algorithm>

#include "kernels/grid_tile.h"

namespace mxq::ref {

namespace {

float weight_of(const float* weights, int i) {
  return weights == nullptr ? 1.0f : weights[i];
}

/// See affine_tile_ref.cc.
float round_code(float x, float max_code) {
  constexpr float magic = 12582912.0f;
  const float clamped = std::min(x > 0.0f ? x : 0.0f, max_code);
  return (clamped + magic) - magic;
}

}  // namespace

void tile_grid_error(const float* tile, const float* weights, int n, int max_code, const float* inverse_scale,
                     const float* scale, const float* zero, float* error) {
  for (int l = 0; l < kTileLanes; ++l) {
    float sum = 0;
    for (int i = 0; i < n; ++i) {
      const float w = tile[i * kTileLanes + l];
      const float q = round_code(w * inverse_scale[l] + zero[l], static_cast<float>(max_code));
      const float e = w - (q - zero[l]) * scale[l];
      sum += (weight_of(weights, i) * e) * e;
    }
    error[l] = sum;
  }
}

void tile_grid_sums(const float* tile, const float* weights, int n, int max_code, const float* inverse_scale,
                    const float* zero, const float* shift, float* of_codes, float* of_squares, float* with_weights) {
  for (int l = 0; l < kTileLanes; ++l) {
    float codes = 0, squares = 0, with = 0;
    for (int i = 0; i < n; ++i) {
      const float w = tile[i * kTileLanes + l];
      const float c = round_code(w * inverse_scale[l] + zero[l], static_cast<float>(max_code)) - shift[l];
      const float hc = weight_of(weights, i) * c;
      codes += hc;
      squares += hc * c;
      with += hc * w;
    }
    of_codes[l] = codes;
    of_squares[l] = squares;
    with_weights[l] = with;
  }
}

}  // namespace mxq::ref
