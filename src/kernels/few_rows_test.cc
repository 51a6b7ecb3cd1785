// Products of a few rows: every instruction set against the scalar reference in double precision.
#include "kernels/few_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "base/half.h"
#include "random_floats.h"
#include "simd_targets.h"

namespace mxq {
namespace {

class FewRows : public EverySimdTarget {};

constexpr float kUntouched = 12345;
constexpr int64_t kBehind = 3;  // floats behind the output, which stay as they are

void compare(const std::function<void(float*)>& fast, const std::function<void(float*)>& slow, int64_t outputs,
             int64_t summed) {
  std::vector<float> found(static_cast<size_t>(outputs + kBehind), kUntouched), expected = found;
  fast(found.data());
  slow(expected.data());
  // Sums of so many products of normal numbers, in fp32.
  const double bound = 1e-6 * std::sqrt(static_cast<double>(summed)) + 1e-6;
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], bound + 2e-6 * std::abs(expected[i])) << "element " << i;
  }
}

template <typename T>
void compare_with_reference(const std::function<std::vector<T>(std::vector<float>)>& convert) {
  std::mt19937 random{5};
  for (const int64_t m : {1, 2, 3, 4, 5, 7, 9}) {
    for (const int64_t n : {1, 3, 4, 6, 33, 130}) {
      for (const int64_t k : {1, 7, 16, 33, 64, 80, 128, 200}) {
        const int64_t stride = k + 5;
        SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k);
        const auto q = normal_floats(random, m * k), weights = normal_floats(random, m * n);
        const std::vector<T> rows = convert(normal_floats(random, (n - 1) * stride + k));
        compare([&](float* out) { few_rows_scores(m, n, k, q.data(), rows.data(), stride, out); },
                [&](float* out) { ref::few_rows_scores(m, n, k, q.data(), rows.data(), stride, out); }, m * n, k);
        compare([&](float* out) { few_rows_mix(m, n, k, weights.data(), rows.data(), stride, out); },
                [&](float* out) { ref::few_rows_mix(m, n, k, weights.data(), rows.data(), stride, out); }, m * k, n);
      }
    }
  }
}

TEST_P(FewRows, EqualTheReference) {
  compare_with_reference<float>([](std::vector<float> x) { return x; });
  compare_with_reference<uint16_t>([](const std::vector<float>& x) {
    std::vector<uint16_t> halves;
    for (const float value : x) halves.push_back(bf16_from_f32(value));
    return halves;
  });
}

TEST_P(FewRows, EachRowIsTheSameAlone) {
  std::mt19937 random{6};
  constexpr int64_t m = 7, n = 21, k = 40;
  const auto q = normal_floats(random, m * k), rows = normal_floats(random, n * k);
  std::vector<float> together(m * n), alone(n);
  few_rows_scores(m, n, k, q.data(), rows.data(), k, together.data());
  for (int64_t r = 0; r < m; ++r) {
    few_rows_scores(1, n - 2, k, q.data() + r * k, rows.data(), k, alone.data());
    for (int64_t i = 0; i < n - 2; ++i) {
      EXPECT_EQ(alone[static_cast<size_t>(i)], together[static_cast<size_t>(r * n + i)]);
    }
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(FewRows);

}  // namespace
}  // namespace mxq
