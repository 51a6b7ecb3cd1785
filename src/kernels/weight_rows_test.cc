// Every instruction set of this machine against the scalar reference, and that against the definitions in fp64.
#include "kernels/weight_rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "every_exponent.h"
#include "random_floats.h"
#include "simd_targets.h"

namespace mxq {
namespace {

class WeightRows : public EverySimdTarget {
 protected:
  static constexpr unsigned kSeed = 91;

  std::vector<float> random(int64_t n) { return normal_floats(random_, n); }

  std::mt19937 random_{kSeed};
};

TEST_P(WeightRows, WalshHadamard) {
  for (int64_t n = 1; n <= 1024; n *= 2) {
    SCOPED_TRACE(testing::Message() << n << " elements, seed " << kSeed);
    const auto x = random(n);
    auto turned = x, expected = x;
    walsh_hadamard(turned.data(), n);
    ref::walsh_hadamard(expected.data(), n);
    ASSERT_EQ(turned, expected);
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < n; ++j) {
        sum += (std::popcount(static_cast<uint64_t>(i & j)) % 2 != 0 ? -1.0 : 1.0) * x[static_cast<size_t>(j)];
      }
      ASSERT_NEAR(turned[static_cast<size_t>(i)], sum, 1e-5 * std::sqrt(static_cast<double>(n))) << i;
    }
  }
  walsh_hadamard(nullptr, 0);
}

TEST_P(WeightRows, SquaredDistance) {
  for (const int64_t n : {0, 1, 7, 8, 9, 64, 100, 576, 1531}) {
    SCOPED_TRACE(testing::Message() << n << " elements, seed " << kSeed);
    const auto a = random(n), b = random(n);
    const double found = squared_distance(a.data(), b.data(), n);
    EXPECT_EQ(found, ref::squared_distance(a.data(), b.data(), n));
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
    EXPECT_NEAR(found, sum, 1e-13 * sum);
  }
}

TEST_P(WeightRows, EqualTheReferenceOverTheWholeRange) {
  const auto all = every_float();
  for (size_t start = 0; start < all.size(); start += 97) {
    for (const size_t n : {1, 4, 16, 64, 128}) {
      auto found = spread(all, start, n), expected = found;
      walsh_hadamard(found.data(), static_cast<int64_t>(n));
      ref::walsh_hadamard(expected.data(), static_cast<int64_t>(n));
      for (size_t i = 0; i < n; ++i) ASSERT_TRUE(same_value(found[i], expected[i])) << "from " << start << ", " << i;
    }
    for (size_t n = 0; n <= 3 * 16 + 3; n += 1 + start % 3) {
      const auto a = spread(all, start, n), b = spread(all, 5 * start + 11, n);
      ASSERT_TRUE(same_value(squared_distance(a.data(), b.data(), static_cast<int64_t>(n)),
                             ref::squared_distance(a.data(), b.data(), static_cast<int64_t>(n))))
          << "from " << start << ", n " << n;
    }
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(WeightRows);

}  // namespace
}  // namespace mxq
