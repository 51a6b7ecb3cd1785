// Every instruction set of this machine against the scalar reference, and that against sums in fp64.
#include "kernels/feedback_tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "every_exponent.h"
#include "simd_targets.h"

namespace mxq {
namespace {

class FeedbackTile : public EverySimdTarget {
 protected:
  struct Tile {
    alignas(64) float data[256 * kTileLanes];
  };

  void fill(Tile& tile, float sigma) {
    std::normal_distribution<float> normal(0, sigma);
    for (float& x : tile.data) x = normal(random_);
  }

  std::mt19937 random_{77};
};

TEST_P(FeedbackTile, EqualsTheReference) {
  constexpr int64_t kStride = 261;
  std::vector<float> coefficients(256 * kStride);
  std::normal_distribution<float> normal(0, 0.1f);
  for (float& c : coefficients) c = normal(random_);
  std::vector<float> inverse(kTileLanes), scale(inverse.size()), zero(inverse.size());
  for (size_t i = 0; i < scale.size(); ++i) {
    scale[i] = 0.005f * static_cast<float>(1 + random_() % 8);
    inverse[i] = 1 / scale[i];
    zero[i] = static_cast<float>(random_() % 64) / 8;
  }
  scale[5] = inverse[5] = 0;
  Tile tile, weights, errors, errors2;
  for (const int n : {1, 3, 7, 8, 9, 16, 31, 64, 129, 256}) {
    for (const int max_code : {3, 15, 255}) {
      SCOPED_TRACE(testing::Message() << "n " << n << " max_code " << max_code << " seed 77");
      fill(tile, 0.03f);
      fill(weights, 0.03f);
      const FeedbackGrid grid{inverse.data(), scale.data(), zero.data()};
      Tile tile2 = tile;
      std::vector<uint8_t> codes(n * kTileLanes), codes2 = codes;
      tile_feedback(tile.data, weights.data, n, max_code, coefficients.data(), kStride, grid, codes.data(),
                    errors.data);
      ref::tile_feedback(tile2.data, weights.data, n, max_code, coefficients.data(), kStride, grid, codes2.data(),
                         errors2.data);
      ASSERT_EQ(codes, codes2);
      ASSERT_TRUE(std::equal(errors.data, errors.data + n * kTileLanes, errors2.data));
      ASSERT_TRUE(std::equal(tile.data, tile.data + 256 * kTileLanes, tile2.data));

      if (max_code == 15) {
        TileLevels levels;
        for (levels.count = 4; levels.count <= 16; levels.count *= 2) {
          for (int i = 0; i < levels.count; ++i) levels.level[i] = static_cast<float>(i * i) / 16 - 2;
          for (int i = 0; i + 1 < levels.count; ++i) {
            levels.midpoint[i] = 0.5f * (levels.level[i] + levels.level[i + 1]);
          }
          fill(tile, 0.03f);
          tile2 = tile;
          tile_level_feedback(tile.data, weights.data, n, levels, coefficients.data(), kStride, grid, codes.data(),
                              errors.data);
          ref::tile_level_feedback(tile2.data, weights.data, n, levels, coefficients.data(), kStride, grid,
                                   codes2.data(), errors2.data);
          ASSERT_EQ(codes, codes2);
          ASSERT_TRUE(std::equal(errors.data, errors.data + n * kTileLanes, errors2.data));
          ASSERT_TRUE(std::equal(tile.data, tile.data + 256 * kTileLanes, tile2.data));
          for (int i = 0; i < n * kTileLanes; ++i) {
            const double t = double{tile.data[i]} * inverse[i % kTileLanes];
            double nearest = 1e30;
            for (int c = 0; c < levels.count; ++c) nearest = std::min(nearest, std::fabs(t - levels.level[c]));
            ASSERT_NEAR(std::fabs(t - levels.level[codes[i]]), nearest, 1e-6 * (1 + std::fabs(t)));
            ASSERT_EQ(errors.data[i], weights.data[i] - levels.level[codes[i]] * scale[i % kTileLanes]);
          }
        }
      }

      std::vector<float> inverse_diagonal(256);
      for (size_t i = 0; i < inverse_diagonal.size(); ++i) inverse_diagonal[i] = 0.01f * static_cast<float>(i % 7 + 1);
      fill(tile, 3.0f);
      tile2 = tile;
      tile_descend(tile.data, weights.data, n, max_code, coefficients.data(), kStride, inverse_diagonal.data(), grid,
                   codes.data(), errors.data);
      ref::tile_descend(tile2.data, weights.data, n, max_code, coefficients.data(), kStride, inverse_diagonal.data(),
                        grid, codes2.data(), errors2.data);
      ASSERT_EQ(codes, codes2);
      ASSERT_TRUE(std::equal(errors.data, errors.data + n * kTileLanes, errors2.data));
      ASSERT_TRUE(std::equal(tile.data, tile.data + 256 * kTileLanes, tile2.data));
      for (int i = 0; i < n * kTileLanes; ++i) {
        const int l = i % kTileLanes;
        const double wanted = weights.data[i] + double{tile.data[i]} * inverse_diagonal[i / kTileLanes];
        const double t = wanted * inverse[l] + zero[l], top = max_code;
        ASSERT_NEAR(codes[i], std::clamp(t, 0.0, top), 0.5 + 1e-5 * (1 + std::fabs(t)));
        ASSERT_EQ(errors.data[i], weights.data[i] - (static_cast<float>(codes[i]) - zero[l]) * scale[l]);
      }
      TileLevels eight;
      eight.count = 8;
      for (int i = 0; i < eight.count; ++i) eight.level[i] = static_cast<float>(i * i) / 8 - 3;
      for (int i = 0; i + 1 < eight.count; ++i) eight.midpoint[i] = 0.5f * (eight.level[i] + eight.level[i + 1]);
      fill(tile, 3.0f);
      tile2 = tile;
      tile_level_descend(tile.data, weights.data, n, eight, coefficients.data(), kStride, inverse_diagonal.data(), grid,
                         codes.data(), errors.data);
      ref::tile_level_descend(tile2.data, weights.data, n, eight, coefficients.data(), kStride, inverse_diagonal.data(),
                              grid, codes2.data(), errors2.data);
      ASSERT_EQ(codes, codes2);
      ASSERT_TRUE(std::equal(errors.data, errors.data + n * kTileLanes, errors2.data));
      for (int i = 0; i < n * kTileLanes; ++i) {
        const double wanted = weights.data[i] + double{tile.data[i]} * inverse_diagonal[i / kTileLanes];
        const double t = wanted * inverse[i % kTileLanes];
        double nearest = 1e30;
        for (int c = 0; c < eight.count; ++c) nearest = std::min(nearest, std::fabs(t - eight.level[c]));
        ASSERT_NEAR(std::fabs(t - eight.level[codes[i]]), nearest, 1e-5 * (1 + std::fabs(t)));
      }

      fill(tile, 0.03f);
      tile2 = tile;
      tile_update(tile.data, weights.data, n, coefficients.data(), kStride, errors.data);
      ref::tile_update(tile2.data, weights.data, n, coefficients.data(), kStride, errors2.data);
      ASSERT_TRUE(std::equal(errors.data, errors.data + n * kTileLanes, errors2.data));
      ASSERT_TRUE(std::equal(tile.data, tile.data + 256 * kTileLanes, tile2.data));

      for (const int columns : {0, 1, 7, 8, 23, 256}) {
        fill(tile, 1.0f);
        tile2 = tile;
        const Tile before = tile;
        tile_add_feedback(errors.data, n, coefficients.data(), kStride, columns, tile.data);
        ref::tile_add_feedback(errors.data, n, coefficients.data(), kStride, columns, tile2.data);
        ASSERT_TRUE(std::equal(tile.data, tile.data + 256 * kTileLanes, tile2.data)) << columns;
        for (int j = 0; j < columns; j += 5) {
          double sum = before.data[j * kTileLanes + 3];
          for (int i = 0; i < n; ++i) sum += double{errors.data[i * kTileLanes + 3]} * coefficients[j * kStride + i];
          ASSERT_NEAR(tile.data[j * kTileLanes + 3], sum, 1e-5 * (1 + std::fabs(sum)));
        }
      }
    }
  }
}

TEST_P(FeedbackTile, EqualsTheReferenceOverTheWholeRange) {
  constexpr int64_t kStride = 51;
  const auto all = every_exponent();
  std::vector<float> coefficients(kStride * kStride);
  std::normal_distribution<float> normal(0, 0.1f);
  for (float& c : coefficients) c = normal(random_);
  TileLevels levels;
  levels.count = 8;
  for (int i = 0; i < levels.count; ++i) levels.level[i] = static_cast<float>(i) - 3;
  for (int i = 0; i + 1 < levels.count; ++i) levels.midpoint[i] = 0.5f * (levels.level[i] + levels.level[i + 1]);
  for (size_t start = 0; start < all.size(); start += 331) {
    const int n = 1 + static_cast<int>(start % kStride);
    const size_t size = static_cast<size_t>(n) * kTileLanes;
    SCOPED_TRACE(testing::Message() << "from float " << start << ", n " << n);
    const auto values = spread(all, start, size), own = spread(all, 5 * start + 3, size);
    const auto inverse = spread(all, 3 * start + 1, kTileLanes), scale = spread(all, 7 * start + 2, kTileLanes),
               zero = spread(all, 11 * start + 5, kTileLanes);
    const FeedbackGrid grid{inverse.data(), scale.data(), zero.data()};
    Tile weights{};
    std::copy(own.begin(), own.end(), weights.data);
    const auto expect = [&](auto kernel, auto reference) {
      Tile tiles[2]{}, errors[2]{};
      std::vector<uint8_t> codes[2];
      for (int i = 0; i < 2; ++i) {
        std::copy(values.begin(), values.end(), tiles[i].data);
        codes[i].resize(size);
      }
      kernel(tiles[0].data, codes[0].data(), errors[0].data);
      reference(tiles[1].data, codes[1].data(), errors[1].data);
      ASSERT_EQ(codes[0], codes[1]);
      for (size_t i = 0; i < size; ++i) {
        ASSERT_TRUE(same_value(tiles[0].data[i], tiles[1].data[i])) << i;
        ASSERT_TRUE(same_value(errors[0].data[i], errors[1].data[i])) << i;
      }
    };
    expect(
        [&](float* tile, uint8_t* codes, float* errors) {
          tile_feedback(tile, weights.data, n, 15, coefficients.data(), kStride, grid, codes, errors);
        },
        [&](float* tile, uint8_t* codes, float* errors) {
          ref::tile_feedback(tile, weights.data, n, 15, coefficients.data(), kStride, grid, codes, errors);
        });
    expect(
        [&](float* tile, uint8_t* codes, float* errors) {
          tile_level_feedback(tile, weights.data, n, levels, coefficients.data(), kStride, grid, codes, errors);
        },
        [&](float* tile, uint8_t* codes, float* errors) {
          ref::tile_level_feedback(tile, weights.data, n, levels, coefficients.data(), kStride, grid, codes, errors);
        });
    expect([&](float* tile, uint8_t*,
               float* errors) { tile_update(tile, weights.data, n, coefficients.data(), kStride, errors); },
           [&](float* tile, uint8_t*, float* errors) {
             ref::tile_update(tile, weights.data, n, coefficients.data(), kStride, errors);
           });
    expect([&](float* tile, uint8_t*,
               float*) { tile_add_feedback(weights.data, n, coefficients.data(), kStride, n, tile); },
           [&](float* tile, uint8_t*, float*) {
             ref::tile_add_feedback(weights.data, n, coefficients.data(), kStride, n, tile);
           });
    if (HasFatalFailure()) return;
  }
}

/// The definition, in fp64: each column's loss goes to all columns after it before they are coded.
TEST_P(FeedbackTile, LossesOfColumnsGoToThoseAfterThem) {
  constexpr int n = 40;
  std::vector<float> coefficients(n * n);
  std::normal_distribution<float> normal(0, 0.3f);
  for (float& c : coefficients) c = normal(random_);
  const std::vector<float> scale(kTileLanes, 0.5f), inverse(kTileLanes, 2.0f), zero(kTileLanes, 3.5f);
  Tile weights, tile, errors;
  fill(weights, 1.0f);
  fill(tile, 1.0f);
  const Tile start = tile;
  std::vector<uint8_t> codes(n * kTileLanes);
  tile_feedback(tile.data, weights.data, n, 7, coefficients.data(), n, {inverse.data(), scale.data(), zero.data()},
                codes.data(), errors.data);
  for (int l = 0; l < kTileLanes; ++l) {
    for (int j = 0; j < n; ++j) {
      double w = start.data[j * kTileLanes + l];
      for (int i = 0; i < j; ++i) {
        const double lost = weights.data[i * kTileLanes + l] - (codes[i * kTileLanes + l] - 3.5) * 0.5;
        w += lost * coefficients[j * n + i];
      }
      const double t = std::clamp(w * 2 + 3.5, 0.0, 7.0);
      ASSERT_LE(std::fabs(codes[j * kTileLanes + l] - t), 0.5 + 1e-4) << "lane " << l << " column " << j << " seed 77";
    }
  }
}

/// What a column lacks to its updated weight goes to those after it, as if that were its code.
TEST_P(FeedbackTile, UpdatesAreThoseOfColumnsThatLoseNothing) {
  constexpr int n = 40;
  std::vector<float> coefficients(n * n);
  std::normal_distribution<float> normal(0, 0.1f);
  for (float& c : coefficients) c = normal(random_);
  Tile weights, tile, errors;
  fill(weights, 1.0f);
  fill(tile, 1.0f);
  const Tile start = tile;
  tile_update(tile.data, weights.data, n, coefficients.data(), n, errors.data);
  for (int l = 0; l < kTileLanes; ++l) {
    double updated[n];
    for (int j = 0; j < n; ++j) {
      updated[j] = start.data[j * kTileLanes + l];
      for (int i = 0; i < j; ++i) {
        updated[j] += (weights.data[i * kTileLanes + l] - updated[i]) * coefficients[j * n + i];
      }
      ASSERT_NEAR(tile.data[j * kTileLanes + l], updated[j], 1e-4) << "lane " << l << " column " << j << " seed 77";
    }
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(FeedbackTile);

}  // namespace
}  // namespace mxq
