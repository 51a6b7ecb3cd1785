// Scalar twins of the feedback kernels: one lane after the other. The SIMD ones must give the same bits.
#include <algorithm>

#include "kernels/feedback_tile.h"

namespace mxq::ref {

void tile_feedback(float* tile, const float* weights, int n, int max_code, const float* coefficients, int64_t stride,
                   const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  constexpr float magic = 12582912.0f;  // rounds half to even
  const float top = static_cast<float>(max_code);
  for (int l = 0; l < kTileLanes; ++l) {
    for (int j = 0; j < n; ++j) {
      float w = tile[j * kTileLanes + l];
      for (int i = 0; i < j; ++i) w += errors[i * kTileLanes + l] * coefficients[j * stride + i];
      const float t = std::min(std::max(w * grid.inverse_scale[l] + grid.zero[l], 0.0f), top);
      const float q = (t + magic) - magic;
      tile[j * kTileLanes + l] = w;
      codes[j * kTileLanes + l] = static_cast<uint8_t>(q);
      errors[j * kTileLanes + l] = weights[j * kTileLanes + l] - (q - grid.zero[l]) * grid.scale[l];
    }
  }
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
