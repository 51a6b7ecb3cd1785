// Every instruction set of this machine against the scalar reference, and that against sums in fp64.
#include "kernels/grid_tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "simd_targets.h"

namespace mxq {
namespace {

class GridTile : public EverySimdTarget {
 protected:
  static constexpr unsigned kSeed = 79;
  std::mt19937 random_{kSeed};
};

TEST_P(GridTile, EqualsTheReferenceAndTheDefinition) {
  std::normal_distribution<float> normal;
  alignas(64) float tile[64 * kTileLanes];
  float weights[64], inverse[kTileLanes], scale[kTileLanes], zero[kTileLanes], shift[kTileLanes];
  for (const int max_code : {3, 15, 255}) {
    for (const int n : {1, 16, 33, 64}) {
      for (float& x : tile) x = normal(random_);
      for (float& x : weights) x = std::fabs(normal(random_));
      for (int l = 0; l < kTileLanes; ++l) {
        scale[l] = (l % 3 == 0 ? -3.0f : 3.0f) / static_cast<float>(max_code) * std::exp(0.3f * normal(random_));
        if (l == 5) scale[l] = 0;
        inverse[l] = l == 5 ? 0 : 1 / scale[l];
        zero[l] = 0.5f * static_cast<float>(max_code) + normal(random_);
        shift[l] = l % 2 == 0 ? zero[l] : 0;
      }
      for (const float* const w : {static_cast<const float*>(nullptr), static_cast<const float*>(weights)}) {
        float error[2][kTileLanes], codes[2][kTileLanes], squares[2][kTileLanes], with[2][kTileLanes];
        tile_grid_error(tile, w, n, max_code, inverse, scale, zero, error[0]);
        ref::tile_grid_error(tile, w, n, max_code, inverse, scale, zero, error[1]);
        tile_grid_sums(tile, w, n, max_code, inverse, zero, shift, codes[0], squares[0], with[0]);
        ref::tile_grid_sums(tile, w, n, max_code, inverse, zero, shift, codes[1], squares[1], with[1]);
        for (int l = 0; l < kTileLanes; ++l) {
          ASSERT_EQ(error[0][l], error[1][l]) << l;
          ASSERT_EQ(codes[0][l], codes[1][l]) << l;
          ASSERT_EQ(squares[0][l], squares[1][l]) << l;
          ASSERT_EQ(with[0][l], with[1][l]) << l;
          double e = 0, c1 = 0, c2 = 0, cw = 0, size = 0;
          for (int i = 0; i < n; ++i) {
            const double x = tile[i * kTileLanes + l], h = w == nullptr ? 1 : w[i];
            const float t = tile[i * kTileLanes + l] * inverse[l] + zero[l];
            const double q = std::clamp(std::nearbyint(t), 0.0f, static_cast<float>(max_code)), c = q - shift[l];
            e += h * std::pow(x - (q - zero[l]) * scale[l], 2);
            c1 += h * c;
            c2 += h * c * c;
            cw += h * c * x;
            size += h * (std::fabs(c) + std::fabs(c * x));
          }
          ASSERT_NEAR(error[0][l], e, 1e-4 * e + 1e-6) << l;
          ASSERT_NEAR(codes[0][l], c1, 2e-5 * size) << l;
          ASSERT_NEAR(squares[0][l], c2, 2e-5 * c2) << l;
          ASSERT_NEAR(with[0][l], cw, 2e-5 * size) << l;
        }
      }
    }
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(GridTile);

}  // namespace
}  // namespace mxq
