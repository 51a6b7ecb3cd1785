#include "model/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "mxq/error.h"
#include "mxq/runtime.h"

namespace mxq {
namespace {

using testing::DoubleNear;
using testing::HasSubstr;

TEST(Moments, SmallMatrixByHand) {
  // 1, 2, 3, 6: mean 3, central squares 4 1 0 9, fourth powers 16 1 0 81.
  const std::vector<float> w{1, 2, 3, 6};
  const Moments m = moments({w.data(), 2, 2}, "w");
  EXPECT_DOUBLE_EQ(m.norm, std::sqrt(50.0));
  EXPECT_DOUBLE_EQ(m.kurtosis, (98.0 / 4) / (3.5 * 3.5));
}

TEST(Moments, NormalDistributionHasKurtosisThree) {
  constexpr uint32_t kSeed = 5;
  RecordProperty("seed", kSeed);
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal(0.5f, 2.f);
  std::vector<float> w(1 << 20);
  for (float& x : w) x = normal(random);
  EXPECT_NEAR(moments({w.data(), 1 << 10, 1 << 10}, "w").kurtosis, 3, 0.03);
}

TEST(Moments, SameBitsWhateverTheThreads) {
  std::vector<float> w(300'000);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::sin(static_cast<float>(i));
  set_threads(1);
  const Moments one = moments({w.data(), 300, 1000}, "w");
  set_threads(4);
  const Moments four = moments({w.data(), 300, 1000}, "w");
  set_threads(0);
  EXPECT_EQ(one.norm, four.norm);
  EXPECT_EQ(one.kurtosis, four.kurtosis);
}

TEST(Moments, ConstantAndEmptyMatrices) {
  const std::vector<float> w(12, -2.f);
  EXPECT_EQ(moments({w.data(), 3, 4}, "w").kurtosis, 0);
  EXPECT_EQ(moments({nullptr, 0, 4}, "w").norm, 0);
}

TEST(Moments, NamesTheFirstWeightThatIsNotFinite) {
  std::vector<float> w(12, 1.f);
  w[7] = std::numeric_limits<float>::quiet_NaN();
  w[9] = std::numeric_limits<float>::infinity();
  try {
    moments({w.data(), 3, 4}, "model.layers.0.mlp.up_proj.weight");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::not_finite);
    EXPECT_THAT(e.what(), HasSubstr("up_proj.weight' holds nan at row 1, column 3"));
  }
}

TEST(Percentiles, AsNumpyInterpolates) {
  // numpy.percentile(abs(x), [0, 99, 99.9, 99.99, 100]) for x = -0, 1, -2, 3, ..., 1000.
  std::vector<float> w(1001);
  for (size_t i = 0; i < w.size(); ++i) w[w.size() - 1 - i] = (i % 2 ? 1.f : -1.f) * static_cast<float>(i);
  const auto p = magnitude_percentiles({w.data(), 1, 1001});
  const double expected[] = {0, 990, 999, 999.9, 1000};
  for (size_t i = 0; i < 5; ++i) EXPECT_THAT(p[i], DoubleNear(expected[i], 1e-9));
}

TEST(Percentiles, OneWeightAndNone) {
  const float w = -0.5f;
  for (double p : magnitude_percentiles({&w, 1, 1})) EXPECT_EQ(p, 0.5);
  for (double p : magnitude_percentiles({nullptr, 0, 0})) EXPECT_EQ(p, 0);
}

}  // namespace
}  // namespace mxq
