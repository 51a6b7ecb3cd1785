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

/// The value of the code.
float nearest_code(float w, int max_code, const FeedbackGrid& grid, int l, uint8_t& code) {
  constexpr float magic = 12582912.0f;  // rounds half to even
  const float x = w * grid.inverse_scale[l] + grid.zero[l];
  const float t = x > 0.0f ? std::min(x, static_cast<float>(max_code)) : 0.0f;  // 0 for NaN too
  const float q = (t + magic) - magic;
  code = static_cast<uint8_t>(q);
  return (q - grid.zero[l]) * grid.scale[l];
}

float nearest_level(float w, const TileLevels& levels, const FeedbackGrid& grid, int l, uint8_t& code) {
  int nearest = 0;
  for (int m = 0; m + 1 < levels.count; ++m) nearest += w * grid.inverse_scale[l] > levels.midpoint[m];
  code = static_cast<uint8_t>(nearest);
  return levels.level[nearest] * grid.scale[l];
}

}  // namespace

void tile_feedback(float* tile, const float* weights, int n, int max_code, const float* coefficients, int64_t stride,
                   const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  feed_back(tile, weights, n, coefficients, stride, errors,
            [&](float w, int l, int j) { return nearest_code(w, max_code, grid, l, codes[j * kTileLanes + l]); });
}

void tile_level_feedback(float* tile, const float* weights, int n, const TileLevels& levels, const float* coefficients,
                         int64_t stride, const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  feed_back(tile, weights, n, coefficients, stride, errors,
            [&](float w, int l, int j) { return nearest_level(w, levels, grid, l, codes[j * kTileLanes + l]); });
}

void tile_descend(float* tile, const float* values, int n, int max_code, const float* moments, int64_t stride,
                  const float* inverse_diagonal, const FeedbackGrid& grid, uint8_t* codes, float* changes) {
  feed_back(tile, values, n, moments, stride, changes, [&](float gradient, int l, int j) {
    const float w = values[j * kTileLanes + l] + gradient * inverse_diagonal[j];
    return nearest_code(w, max_code, grid, l, codes[j * kTileLanes + l]);
  });
}

void tile_level_descend(float* tile, const float* values, int n, const TileLevels& levels, const float* moments,
                        int64_t stride, const float* inverse_diagonal, const FeedbackGrid& grid, uint8_t* codes,
                        float* changes) {
  feed_back(tile, values, n, moments, stride, changes, [&](float gradient, int l, int j) {
    const float w = values[j * kTileLanes + l] + gradient * inverse_diagonal[j];
    return nearest_level(w, levels, grid, l, codes[j * kTileLanes + l]);
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
