// Every instruction set of this machine against the scalar reference, and that against sums in fp64.
#include "kernels/level_tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "every_exponent.h"
#include "simd_targets.h"

namespace mxq {
namespace {

class LevelTile : public EverySimdTarget {
 protected:
  static constexpr unsigned kSeed = 78;
  std::mt19937 random_{kSeed};
};

TEST_P(LevelTile, EqualsTheReferenceAndTheDefinition) {
  std::normal_distribution<float> normal;
  alignas(64) float tile[128 * kTileLanes], weights[128], inverse[kTileLanes];
  for (int count = 4; count <= 16; count *= 2) {
    TileLevels levels;
    levels.count = count;
    for (int i = 0; i < count; ++i)
      levels.level[i] = 0.3f * static_cast<float>(i - count / 3) + 0.01f * normal(random_);
    for (int i = 0; i + 1 < count; ++i) levels.midpoint[i] = 0.5f * (levels.level[i] + levels.level[i + 1]);
    for (const int n : {1, 2, 31, 64, 128}) {
      for (float& x : tile) x = normal(random_);
      for (float& x : weights) x = std::fabs(normal(random_));
      for (int l = 0; l < kTileLanes; ++l) inverse[l] = l == 3 ? 0 : std::exp(normal(random_));
      for (int i = 0; i < n; ++i) {
        tile[i * kTileLanes + 5] = 3e38f;
        tile[i * kTileLanes + 6] = -1e-42f;
        tile[i * kTileLanes + 7] = levels.midpoint[i % (count - 1)];  // half way: the lower
      }
      inverse[7] = 1;
      for (const bool weighted : {false, true}) {
        SCOPED_TRACE(testing::Message() << count << " levels, n " << n << ", weighted " << weighted << ", seed "
                                        << kSeed);
        float with[2][kTileLanes], of[2][kTileLanes];
        const float* const w = weighted ? weights : nullptr;
        tile_level_sums(tile, w, n, levels, inverse, with[0], of[0]);
        ref::tile_level_sums(tile, w, n, levels, inverse, with[1], of[1]);
        std::vector<uint8_t> codes(n * kTileLanes), codes2 = codes;
        tile_level_codes(tile, n, levels, inverse, codes.data());
        ref::tile_level_codes(tile, n, levels, inverse, codes2.data());
        ASSERT_EQ(codes, codes2);
        for (int l = 0; l < kTileLanes; ++l) {
          ASSERT_EQ(with[0][l], with[1][l]) << l;
          ASSERT_EQ(of[0][l], of[1][l]) << l;
          double with_levels = 0, of_levels = 0, magnitude = 0;
          for (int i = 0; i < n; ++i) {
            const double x = tile[i * kTileLanes + l], t = x * inverse[l], p = weighted ? weights[i] : 1;
            int nearest = 0;
            for (int c = 1; c < count; ++c) {
              if (std::fabs(t - levels.level[c]) < std::fabs(t - levels.level[nearest])) nearest = c;
            }
            const double level = levels.level[codes[i * kTileLanes + l]];
            ASSERT_NEAR(std::fabs(t - level), std::fabs(t - levels.level[nearest]), 1e-6 * (1 + std::fabs(t)));
            with_levels += p * x * level;
            of_levels += p * level * level;
            magnitude += p * std::fabs(x * level);
          }
          if (l == 7) {
            for (int i = 0; i < n; ++i) ASSERT_EQ(codes[i * kTileLanes + l], i % (count - 1));
          }
          if (magnitude < std::numeric_limits<float>::max()) {
            ASSERT_NEAR(with[0][l], with_levels, 2e-5 * magnitude + 1e-44 * n) << l;
          }
          ASSERT_NEAR(of[0][l], of_levels, 2e-5 * of_levels) << l;
        }
      }
    }
  }
}

TEST_P(LevelTile, EqualsTheReferenceOverTheWholeRange) {
  const auto all = every_exponent();
  alignas(64) float tile[51 * kTileLanes];
  for (int count = 4; count <= 16; count *= 2) {
    TileLevels levels;
    levels.count = count;
    for (int i = 0; i < count; ++i) levels.level[i] = static_cast<float>(i - count / 3);
    for (int i = 0; i + 1 < count; ++i) levels.midpoint[i] = 0.5f * (levels.level[i] + levels.level[i + 1]);
    for (size_t start = 0; start < all.size(); start += 331) {
      const int n = 1 + static_cast<int>(start % 51);
      const auto values = spread(all, start, static_cast<size_t>(n) * kTileLanes);
      std::copy(values.begin(), values.end(), tile);
      const auto inverse = spread(all, 3 * start + 1, kTileLanes);
      std::vector<float> weights(static_cast<size_t>(n), 0.25f);
      for (const float* w : {static_cast<const float*>(weights.data()), static_cast<const float*>(nullptr)}) {
        float with[2][kTileLanes], of[2][kTileLanes];
        tile_level_sums(tile, w, n, levels, inverse.data(), with[0], of[0]);
        ref::tile_level_sums(tile, w, n, levels, inverse.data(), with[1], of[1]);
        for (int l = 0; l < kTileLanes; ++l) {
          ASSERT_TRUE(same_value(with[0][l], with[1][l])) << "from " << start << ", lane " << l;
          ASSERT_TRUE(same_value(of[0][l], of[1][l])) << "from " << start << ", lane " << l;
        }
      }
      std::vector<uint8_t> codes(values.size()), codes2 = codes;
      tile_level_codes(tile, n, levels, inverse.data(), codes.data());
      ref::tile_level_codes(tile, n, levels, inverse.data(), codes2.data());
      ASSERT_EQ(codes, codes2) << "from " << start;
    }
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(LevelTile);

}  // namespace
}  // namespace mxq
