// Means, their errors and quantiles against worked examples and repeated draws.
#include "evaluate/summary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace mxq {
namespace {

TEST(Summary, MeanAndItsError) {
  const std::vector<double> values{2, 4, 4, 4, 5, 5, 7, 9};  // mean 5, sum of squared deviations 32
  EXPECT_DOUBLE_EQ(mean_of(values).value, 5);
  EXPECT_DOUBLE_EQ(mean_of(values).error, std::sqrt(32.0 / 7 / 8));
  EXPECT_EQ(mean_of(std::vector<double>{3}).error, 0);
  // A share of k in n has the error sqrt(p (1 - p) / (n - 1)).
  std::vector<double> share(100, 0);
  for (size_t i = 0; i < 30; ++i) share[i] = 1;
  EXPECT_NEAR(mean_of(share).error, std::sqrt(0.3 * 0.7 / 99), 1e-15);
}

TEST(Summary, WeightedErrorIsTheSpreadOfRepeatedMeans) {
  std::mt19937 random(3);
  std::normal_distribution<double> normal(1, 2);
  const size_t n = 40;
  std::vector<double> weights(n), values(n);
  for (size_t i = 0; i < n; ++i) weights[i] = i < 10 ? 0.06 : 0.4 / 30;
  std::vector<double> means;
  double errors = 0;
  for (int trial = 0; trial < 4000; ++trial) {
    for (double& value : values) value = normal(random);
    const Mean mean = weighted_mean(values, weights);
    means.push_back(mean.value);
    errors += mean.error / 4000;
  }
  const Mean of_means = mean_of(means);
  EXPECT_NEAR(of_means.value, 1, 0.05);
  const double spread = of_means.error * std::sqrt(4000.0);
  EXPECT_NEAR(errors / spread, 1, 0.05) << "seed 3";
}

TEST(Summary, QuantilesAsNumpys) {
  const std::vector<double> values{9, 1, 4, 7};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 5.5);
  EXPECT_DOUBLE_EQ(quantile(values, 0.99), 7 + 0.97 * 2);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 9);
  EXPECT_DOUBLE_EQ(quantile({3}, 0.99), 3);
  EXPECT_DOUBLE_EQ(quantile({5, 1, 3}, 0.5), 3);
}

}  // namespace
}  // namespace mxq
