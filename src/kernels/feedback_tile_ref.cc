// Scalar twins of the feedback kernels: one lane after the other. The SIMD ones must give the same bits.
#include <algorithm>

#include "kernels/feedback_tile.h"

namespace mxq::ref {

namespace {

/// store(w, lane, column) codes the weight w and gives what a reader makes of the code.
template <typename Store>
void feed_back(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, float* errors,
               const Store& store) {
  for (int l = 0; l < kTileLanes; ++l) {
    for (int j = 0; j < n; ++j) {
      float w = tile[j * kTileLanes + l];
      for (int i = 0; i < j; ++i) w += errors[i * kTileLanes + l] * coefficients[j * stride + i];
      tile[j * kTileLanes + l] = w;
      errors[j * kTileLanes + l] = weights[j * kTileLanes + l] - store(w, l, j);
    }
  }
}

}  // namespace

void tile_feedback(float* tile, const float* weights, int n, int max_code, const float* coefficients, int64_t stride,
                   const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  constexpr float magic = 12582912.0f;  // rounds half to even
  const float top = static_cast<float>(max_code);
  feed_back(tile, weights, n, coefficients, stride, errors, [&](float w, int l, int j) {
    const float x = w * grid.inverse_scale[l] + grid.zero[l];
    const float t = x > 0.0f ? std::min(x, top) : 0.0f;  // 0 for NaN too
    const float q = (t + magic) - magic;
    codes[j * kTileLanes + l] = static_cast<uint8_t>(q);
    return (q - grid.zero[l]) * grid.scale[l];
  });
}

void tile_level_feedback(float* tile, const float* weights, int n, const TileLevels& levels, const float* coefficients,
                         int64_t stride, const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  feed_back(tile, weights, n, coefficients, stride, errors, [&](float w, int l, int j) {
    int code = 0;
    for (int m = 0; m + 1 < levels.count; ++m) code += w * grid.inverse_scale[l] > levels.midpoint[m];
    codes[j * kTileLanes + l] = static_cast<uint8_t>(code);
    return levels.level[code] * grid.scale[l];
  });
}

void tile_update(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, float* errors) {
  feed_back(tile, weights, n, coefficients, stride, errors, [](float w, int, int) { return w; });
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
