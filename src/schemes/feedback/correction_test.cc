// Corrected weights against least squares by definition, and the factor's inverse against the matrix.
#include "schemes/feedback/correction.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "expect_error.h"
#include "schemes/feedback/test_matrices.h"

namespace mxq {
namespace {

TEST(FeedbackFactor, SolvesByTheDampedMoments) {
  std::mt19937 random(kSeed);
  for (const int64_t n : {1, 5, 64, 65, 200}) {
    for (const bool reorder : {false, true}) {
      const auto h = correlated(n, 3 * n, random);
      const FeedbackFactor factor(h, n, {.damping = 0.05, .shrinkage = 0.2, .ordered_groups = reorder ? 32 : 0});
      const Matrix m = gaussian(70, n, random, 1);
      auto x = m.data;
      factor.solve(x.data(), m.rows);
      for (int64_t r = 0; r < m.rows; ++r) {
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (int64_t i = 0; i < n; ++i) {
            const double entry = h[i * n + j] / factor.mean_diagonal();
            sum += x[r * n + i] * (i == j ? entry + 0.05 : 0.8 * entry);
          }
          ASSERT_NEAR(sum, m.data[r * n + j], 2e-3) << n << " at " << r << ", " << j << ", seed " << kSeed;
        }
      }
    }
  }
}

/// Rows y that a model had, and rows x that it has now.
struct Runs {
  int64_t n, width;
  std::vector<float> y, x, h, cross;

  Runs(int64_t rows, int64_t columns, std::mt19937& random) : n(rows), width(columns) {
    std::normal_distribution<float> normal;
    y.resize(static_cast<size_t>(n * width));
    for (float& v : y) v = normal(random);
    x = y;
    for (int64_t r = 0; r < n; ++r) {  // what was lost depends on what was there, and on chance
      for (int64_t c = 1; c < width; ++c) x[r * width + c] += 0.3f * y[r * width + c - 1] + 0.1f * normal(random);
    }
    h.resize(static_cast<size_t>(width * width));
    cross.resize(h.size());
    for (int64_t i = 0; i < width; ++i) {
      for (int64_t j = 0; j < width; ++j) {
        double hh = 0, cc = 0;
        for (int64_t r = 0; r < n; ++r) {
          hh += double{x[r * width + i]} * x[r * width + j];
          cc += double{y[r * width + i]} * x[r * width + j];
        }
        h[i * width + j] = static_cast<float>(hh / static_cast<double>(n));
        cross[i * width + j] = static_cast<float>(cc / static_cast<double>(n));
      }
    }
  }

  /// Sum of the squares of W y - V x.
  double loss(const Matrix& w, const std::vector<float>& v) const {
    double sum = 0;
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t r = 0; r < w.rows; ++r) {
        double e = 0;
        for (int64_t c = 0; c < width; ++c) {
          e += double{w.data[r * width + c]} * y[t * width + c] - double{v[r * width + c]} * x[t * width + c];
        }
        sum += e * e;
      }
    }
    return sum;
  }
};

TEST(Corrected, IsLeastSquares) {
  std::mt19937 random(kSeed);
  const Runs runs(300, 40, random);
  const Matrix w = gaussian(6, 40, random, 1);
  const FeedbackFactor factor(runs.h, 40, {.damping = 0});
  const auto whole = corrected(w.view(), runs.h, runs.cross, factor, 1);
  const double best = runs.loss(w, whole), before = runs.loss(w, w.data);
  EXPECT_LT(best, 0.5 * before);
  // Nothing around it is better.
  std::normal_distribution<float> normal(0, 0.01f);
  for (int trial = 0; trial < 20; ++trial) {
    auto other = whole;
    for (float& v : other) v += normal(random);
    EXPECT_GT(runs.loss(w, other), best);
  }
  // Half the way: by the parabola through both ends.
  const auto half = corrected(w.view(), runs.h, runs.cross, factor, 0.5);
  EXPECT_NEAR(runs.loss(w, half), best + (before - best) / 4, 1e-3 * before);
  EXPECT_EQ(corrected(w.view(), runs.h, runs.cross, factor, 0), w.data);
  expect_error(ErrorCode::usage, "correct weights", [&] { corrected(w.view(), runs.h, {}, factor, 1); });
}

}  // namespace
}  // namespace mxq
