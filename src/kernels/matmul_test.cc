// Matrix products against sums in double precision.
#include "kernels/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/half.h"
#include "base/parallel.h"

namespace mxq {
namespace {

constexpr unsigned kSeed = 5;

struct Extents {
  int64_t m, n, k;
};

class Matmul : public testing::TestWithParam<Extents> {
 protected:
  std::vector<float> random(int64_t n) {
    std::normal_distribution<float> normal;
    std::vector<float> out(static_cast<size_t>(n));
    // Values that bf16 holds, so that both kinds of operands are the same numbers.
    for (float& x : out) x = f32_from_bf16(bf16_from_f32(normal(random_)));
    return out;
  }
  static std::vector<uint16_t> bf16(const std::vector<float>& values) {
    std::vector<uint16_t> out;
    for (const float v : values) out.push_back(bf16_from_f32(v));
    return out;
  }

  std::mt19937 random_{kSeed};
};

/// a[m, k] b^T or a b, element (i, j).
double element(const Extents& e, const std::vector<float>& a, const std::vector<float>& b, bool transposed, int64_t i,
               int64_t j) {
  double sum = 0;
  for (int64_t l = 0; l < e.k; ++l) {
    const int64_t at = transposed ? j * e.k + l : l * e.n + j;
    sum += double{a[static_cast<size_t>(i * e.k + l)]} * b[static_cast<size_t>(at)];
  }
  return sum;
}

TEST_P(Matmul, EqualsTheSums) {
  const Extents e = GetParam();
  SCOPED_TRACE(testing::Message() << e.m << " x " << e.n << " x " << e.k << ", seed " << kSeed);
  const auto a = random(e.m * e.k), b = random(e.n * e.k);
  const double tolerance = 2e-6 * static_cast<double>(e.k);
  const auto expect = [&](const std::vector<float>& c, bool transposed, int64_t row, const char* what) {
    for (int64_t i = 0; i < e.m; ++i) {
      for (int64_t j = 0; j < e.n; ++j) {
        ASSERT_NEAR(c[static_cast<size_t>(i * row + j)], element(e, a, b, transposed, i, j), tolerance)
            << what << " " << i << ", " << j;
      }
    }
  };
  std::vector<float> c(static_cast<size_t>(e.m * e.n));
  matmul_transposed(e.m, e.n, e.k, a.data(), e.k, b.data(), e.k, c.data(), e.n);
  expect(c, true, e.n, "f32, transposed");
  matmul(e.m, e.n, e.k, a.data(), e.k, b.data(), e.n, c.data(), e.n);
  expect(c, false, e.n, "f32");
  if (!bf16_matmul_supported()) GTEST_SKIP() << "bf16: no AVX-512";

  const auto a16 = bf16(a), b16 = bf16(b);
  matmul_transposed(e.m, e.n, e.k, a16.data(), b16.data(), c.data(), e.n);
  expect(c, true, e.n, "bf16, transposed");
  matmul(e.m, e.n, e.k, a16.data(), b16.data(), c.data());
  expect(c, false, e.n, "bf16");
  const Bf16Weights weights(e.n, e.k, b16.data());
  EXPECT_GE(weights.bytes(), 2 * e.n * e.k);
  std::fill(c.begin(), c.end(), 0.0f);
  weights.multiply(e.m, a16.data(), c.data());
  expect(c, true, e.n, "bf16 weights");
  std::vector<float> wide(static_cast<size_t>(e.m * (e.n + 3)), 7);
  matmul_transposed(e.m, e.n, e.k, a16.data(), b16.data(), wide.data(), e.n + 3);
  expect(wide, true, e.n + 3, "bf16 with rows apart");
  EXPECT_EQ(wide[static_cast<size_t>(e.n)], 7);
}

INSTANTIATE_TEST_SUITE_P(Extents, Matmul,
                         testing::Values(Extents{1, 1, 1}, Extents{1, 64, 32}, Extents{3, 5, 7}, Extents{16, 192, 576},
                                         Extents{33, 70, 65}, Extents{128, 100, 24}));

// Products are made for a number of threads, and loops of ours run them too.
TEST_F(Matmul, InsideParallelLoops) {
  if (!bf16_matmul_supported()) GTEST_SKIP() << "bf16: no AVX-512";
  const Extents e{20, 30, 40};
  const auto a = random(e.m * e.k), b = random(e.n * e.k);
  const auto a16 = bf16(a), b16 = bf16(b);
  std::vector<float> once(static_cast<size_t>(e.m * e.n));
  matmul_transposed(e.m, e.n, e.k, a16.data(), b16.data(), once.data(), e.n);
  std::vector<std::vector<float>> each(16, std::vector<float>(once.size()));
  parallel_for(16, [&](int64_t i) {
    matmul_transposed(e.m, e.n, e.k, a16.data(), b16.data(), each[static_cast<size_t>(i)].data(), e.n);
  });
  for (const auto& c : each) {
    for (size_t i = 0; i < c.size(); ++i) ASSERT_NEAR(c[i], once[i], 1e-5);
  }
}

}  // namespace
}  // namespace mxq
