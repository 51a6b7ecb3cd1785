// Scalar twins of the feedback kernels: one lane after the other. The SIMD ones must give the same bits.
#include <algorithm>

#include "kernels/feedback_tile.h"

namespace mxq::ref {

namespace {

/// code(w, lane, stored) is w's code; what a reader makes of it goes to `stored`.
template <typename Code>
void feed_back(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, uint8_t* codes,
               float* errors, const Code& code) {
  for (int l = 0; l < kTileLanes; ++l) {
    for (int j = 0; j < n; ++j) {
      float w = tile[j * kTileLanes + l];
      for (int i = 0; i < j; ++i) w += errors[i * kTileLanes + l] * coefficients[j * stride + i];
      tile[j * kTileLanes + l] = w;
      float stored = 0;
      codes[j * kTileLanes + l] = code(w, l, stored);
      errors[j * kTileLanes + l] = weights[j * kTileLanes + l] - stored;
    }
  }
}

}  // namespace

void tile_feedback(float* tile, const float* weights, int n, int max_code, const float* coefficients, int64_t stride,
                   const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  constexpr float magic = 12582912.0f;  // rounds half to even
  const float top = static_cast<float>(max_code);
  feed_back(tile, weights, n, coefficients, stride, codes, errors, [&](float w, int l, float& stored) {
    const float t = std::min(std::max(w * grid.inverse_scale[l] + grid.zero[l], 0.0f), top);
    const float q = (t + magic) - magic;
    stored = (q - grid.zero[l]) * grid.scale[l];
    return static_cast<uint8_t>(q);
  });
}

void tile_level_feedback(float* tile, const float* weights, int n, const TileLevels& levels, const float* coefficients,
                         int64_t stride, const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  feed_back(tile, weights, n, coefficients, stride, codes, errors, [&](float w, int l, float& stored) {
    int code = 0;
    for (int m = 0; m + 1 < levels.count; ++m) code += w * grid.inverse_scale[l] > levels.midpoint[m];
    stored = levels.level[code] * grid.scale[l];
    return static_cast<uint8_t>(code);
  });
}

void tile_add_feedback(const float* errors, int n, const float* coefficients, int64_t stride, int columns,
                       float* tile) {
  for (int j = 0; j < columns; ++j) {
    for (int l = 0; l < kTileLanes; ++l) {
      float w = tile[j * kTileLanes + l];
      for (int i = 0; i < n; ++i) w += errors[i * kTileLanes + l] * coefficients[j * stride + i];
      tile[j * kTileLanes + l] = w;
    }
  }
}

}  // namespace mxq::ref
