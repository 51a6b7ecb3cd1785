// Exact k-means on a line against all partitions.
#include "schemes/codebook/kmeans_1d.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace mxq::codebook {
namespace {

double cost(const std::vector<std::pair<double, double>>& points, const std::vector<double>& levels) {
  double sum = 0;
  for (const auto& [x, w] : points) {
    double least = std::numeric_limits<double>::infinity();
    for (const double level : levels) least = std::min(least, w * (x - level) * (x - level));
    sum += least;
  }
  return sum;
}

std::vector<Bin> bins_of(std::vector<std::pair<double, double>> points) {
  std::sort(points.begin(), points.end());
  std::vector<Bin> bins;
  for (size_t i = 0; i < points.size(); ++i) {
    const auto& [x, w] = points[i];
    if (i == 0 || x != points[i - 1].first) bins.emplace_back();
    Bin& bin = bins.back();
    bin = {bin.weight + w, bin.sum + w * x, bin.squares + w * x * x};
  }
  return bins;
}

/// The least cost of any partition of sorted points into at most k runs, by trying all of them.
double brute_force(const std::vector<std::pair<double, double>>& points, size_t first, int k) {
  if (first == points.size()) return 0;
  if (k == 0) return std::numeric_limits<double>::infinity();
  double least = std::numeric_limits<double>::infinity(), weight = 0, sum = 0, squares = 0;
  for (size_t end = first; end < points.size(); ++end) {
    const auto& [x, w] = points[end];
    weight += w;
    sum += w * x;
    squares += w * x * x;
    least = std::min(least, squares - sum * sum / weight + brute_force(points, end + 1, k - 1));
  }
  return least;
}

TEST(Kmeans1d, FindsTheBestOfAllPartitions) {
  constexpr unsigned kSeed = 21;
  std::mt19937 random(kSeed);
  std::normal_distribution<double> normal;
  for (int trial = 0; trial < 300; ++trial) {
    const int n = 1 + static_cast<int>(random() % 11), k = 1 + static_cast<int>(random() % 5);
    std::vector<std::pair<double, double>> points;
    for (int i = 0; i < n; ++i) {
      // Some values twice, weights of very different sizes.
      const double x = i > 0 && random() % 4 == 0 ? points.back().first : normal(random);
      points.emplace_back(x, std::exp(2 * normal(random)));
    }
    std::sort(points.begin(), points.end());
    const auto levels = kmeans_1d(bins_of(points), k);
    ASSERT_LE(levels.size(), static_cast<size_t>(k));
    EXPECT_TRUE(std::is_sorted(levels.begin(), levels.end()));
    const double least = brute_force(points, 0, k);
    EXPECT_NEAR(cost(points, levels), least, 1e-9 * (1 + least)) << "seed " << kSeed << " trial " << trial;
  }
}

/// A weight beside which all others vanish in double: whatever its place, levels are numbers in the values' range.
TEST(Kmeans1d, OneWeightDwarfsAllOthers) {
  for (const size_t heavy : {0, 7, 15}) {
    std::vector<std::pair<double, double>> points;
    for (size_t i = 0; i < 16; ++i) points.emplace_back(static_cast<double>(i), i == heavy ? 1e20 : 1.0);
    const auto levels = kmeans_1d(bins_of(points), 4);
    ASSERT_EQ(levels.size(), 4u) << heavy;
    EXPECT_TRUE(std::is_sorted(levels.begin(), levels.end())) << heavy;
    EXPECT_TRUE(std::all_of(levels.begin(), levels.end(), [](double x) { return x >= 0 && x <= 15; })) << heavy;
    EXPECT_LE(cost(points, levels), 1e-15 * 1e20) << heavy << ": the heavy one is where a level is";
  }
}

TEST(Kmeans1d, FewValues) {
  EXPECT_TRUE(kmeans_1d({}, 4).empty());
  const auto one = bins_of({{2.5, 3.0}});
  EXPECT_EQ(kmeans_1d(one, 4), std::vector<double>{2.5});
  const auto two = bins_of({{-1, 1}, {3, 1}});
  EXPECT_EQ(kmeans_1d(two, 2), (std::vector<double>{-1, 3}));
  EXPECT_EQ(kmeans_1d(two, 8), (std::vector<double>{-1, 3}));
  EXPECT_EQ(kmeans_1d(two, 1), std::vector<double>{1});
}

}  // namespace
}  // namespace mxq::codebook
