// The rotation against its definition: signs by an independent generator, entries of a Hadamard matrix by parity.
#include "schemes/normalize/rotation.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

namespace mxq {
namespace {

constexpr unsigned kSeed = 3;

TEST(Rotation, IsSignsAndAHadamardMatrix) {
  // SplitMix64 seeded with 12, computed elsewhere.
  const int signs[12] = {-1, -1, 1, -1, 1, 1, -1, -1, 1, 1, 1, 1};
  const Rotation rotation(12);
  ASSERT_EQ(rotation.block(), 4);
  for (int k = 0; k < 12; ++k) {
    std::vector<float> row(12, 0.0f);
    row[k] = 1;
    rotation.apply(row.data());
    for (int j = 0; j < 12; ++j) {
      const int parity = std::popcount(static_cast<unsigned>((k % 4) & (j % 4))) % 2;
      const double expected = k / 4 != j / 4 ? 0 : signs[k] * (parity != 0 ? -0.5 : 0.5);
      EXPECT_EQ(row[j], expected) << k << ", " << j;
    }
  }
}

TEST(Rotation, KeepsNormsAndIsUndone) {
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  for (const int64_t cols : {0, 1, 7, 12, 64, 576, 1536, 4096, 11008}) {
    const Rotation rotation(cols);
    std::vector<float> row(static_cast<size_t>(cols));
    for (float& x : row) x = normal(random);
    auto turned = row;
    rotation.apply(turned.data());
    double before = 0, after = 0;
    for (int64_t k = 0; k < cols; ++k) {
      before += double{row[k]} * row[k];
      after += double{turned[k]} * turned[k];
    }
    EXPECT_NEAR(after, before, 1e-5 * before) << cols << " seed " << kSeed;
    rotation.undo(turned.data());
    for (int64_t k = 0; k < cols; ++k) ASSERT_NEAR(turned[k], row[k], 2e-6) << cols << ", " << k << " seed " << kSeed;
  }
}

TEST(Rotation, LeavesNoOutliers) {
  std::vector<float> row(512, 0.0f);
  row[77] = 1;
  Rotation(512).apply(row.data());
  for (const float x : row) EXPECT_NEAR(std::fabs(x), 1 / std::sqrt(512.0), 1e-7);
}

}  // namespace
}  // namespace mxq
