// GPTQ of matrices whose columns are scaled or whose rows are rotated, against what is made by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/half.h"
#include "expect_error.h"
#include "mxq/error.h"
#include "schemes/feedback/gptq.h"
#include "schemes/feedback/test_matrices.h"
#include "schemes/normalize/rotation.h"

namespace mxq {
namespace {

/// diag(t) H diag(t).
std::vector<float> scaled_moments(const std::vector<float>& h, const std::vector<float>& t) {
  const size_t cols = t.size();
  std::vector<float> scaled(h.size());
  for (size_t i = 0; i < cols; ++i) {
    for (size_t j = 0; j < cols; ++j) scaled[i * cols + j] = h[i * cols + j] * t[i] * t[j];
  }
  return scaled;
}

TEST(FeedbackFactor, ScaledIsThatOfScaledInputs) {
  std::mt19937 random(kSeed);
  const int64_t cols = 150;
  const auto h = correlated(cols, 3 * cols, random);
  std::vector<float> t(static_cast<size_t>(cols));
  for (float& x : t) x = std::exp(std::normal_distribution<float>(0, 0.5f)(random));
  for (const bool reorder : {false, true}) {
    const FeedbackFactor once(h, cols, {.damping = 0, .ordered_groups = reorder ? 64 : 0});
    const auto scaled = once.scaled(t);
    std::vector<float> hs(h.size());
    // In the order of the first one, for reordering looks at the diagonal.
    std::vector<float> permuted(h.size()), pt(t.size());
    for (int64_t i = 0; i < cols; ++i) {
      pt[i] = t[once.order()[i]];
      for (int64_t j = 0; j < cols; ++j) permuted[i * cols + j] = h[once.order()[i] * cols + once.order()[j]];
    }
    const FeedbackFactor direct(scaled_moments(permuted, pt), cols, {.damping = 0});
    const double ratio = scaled.pivots()[0] / direct.pivots()[0];  // their mean diagonals differ
    for (int64_t j = 0; j < cols; ++j) {
      EXPECT_NEAR(scaled.pivots()[j] / direct.pivots()[j] / ratio, 1, 1e-3) << j << " seed " << kSeed;
      for (int64_t i = 0; i < j; ++i) {
        ASSERT_NEAR(scaled.coefficients()[j * cols + i], direct.coefficients()[j * cols + i],
                    1e-3 * std::max(1.0f, std::fabs(direct.coefficients()[j * cols + i])))
            << i << " " << j << " seed " << kSeed;
      }
    }
  }
}

TEST(Gptq, ColumnScalesCodeTheDividedMatrix) {
  std::mt19937 random(kSeed);
  const int64_t cols = 192;
  Matrix m = gaussian(40, cols, random);
  for (int64_t c = 0; c < cols; ++c) {
    const float size = std::exp(std::normal_distribution<float>(0, 0.8f)(random));
    for (int64_t r = 0; r < m.rows; ++r) m.data[r * cols + c] *= size;
  }
  const auto h = correlated(cols, 3 * cols, random);
  const FeedbackFactor factor(h, cols);
  QuantizeOptions options{Fit::gptq, 1, Metadata::f32};
  options.normalize = Normalize::columns;
  const auto with = quantize_matrix_gptq(m.view(), factor, {3, 64}, options);
  EXPECT_EQ(with.layout.total_bytes(), storage_bytes({3, 64}, options, m.rows, cols));
  std::vector<float> t(static_cast<size_t>(cols)), divided(m.data);
  for (int64_t c = 0; c < cols; ++c) {
    uint16_t half;
    std::memcpy(&half, with.part("column_scales").data() + 2 * c, 2);
    t[c] = f32_from_f16(half);
    for (int64_t r = 0; r < m.rows; ++r) divided[r * cols + c] /= t[c];
  }
  options.normalize = Normalize::none;
  const auto without = quantize_matrix_gptq({divided.data(), m.rows, cols}, factor.scaled(t), {3, 64}, options);
  for (size_t i = 0; i < without.parts.size(); ++i) EXPECT_EQ(with.parts[i], without.parts[i]);
}

class GptqRotation : public testing::TestWithParam<bool> {};

TEST_P(GptqRotation, CodesTheRotatedMatrixForRotatedInputs) {
  const bool by_diagonal = GetParam();
  std::mt19937 random(kSeed);
  const int64_t cols = 192;
  Matrix m = gaussian(40, cols, random);
  for (float& w : m.data) w *= std::fabs(w) / 0.02f;  // heavy tails
  const auto h = correlated(cols, 3 * cols, random);
  QuantizeOptions options{Fit::gptq, 1, Metadata::f32};
  options.normalize = Normalize::rotation;
  const auto rotated = quantize_matrix_gptq(m.view(), h, {3, 64}, options, {.ordered_groups = by_diagonal ? 64 : 0});
  EXPECT_TRUE(rotated.layout.rotated);
  EXPECT_EQ(rotated.layout.total_bytes(), storage_bytes({3, 64}, options, m.rows, cols));
  // By hand, in fp64 and by matrices: W diag(1/t) R for R^T diag(t) (H + damping) diag(t) R.
  std::vector<double> t(static_cast<size_t>(cols)), r(static_cast<size_t>(cols * cols));
  const Rotation rotation(cols);
  for (int64_t c = 0; c < cols; ++c) {
    uint16_t half;
    std::memcpy(&half, rotated.part("column_scales").data() + 2 * c, 2);
    t[c] = f32_from_f16(half);
    std::vector<float> row(static_cast<size_t>(cols), 0.0f);
    row[c] = 1;
    rotation.apply(row.data());
    std::copy(row.begin(), row.end(), r.begin() + c * cols);
  }
  double mean = 0;
  for (int64_t c = 0; c < cols; ++c) mean += h[c * cols + c] / static_cast<double>(cols);
  const auto product = [&](int64_t rows, const std::vector<double>& a, bool transpose) {
    std::vector<double> c(static_cast<size_t>(rows * cols));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t k = 0; k < cols; ++k) {
        const double x = transpose ? a[k * rows + i] : a[i * cols + k];
        for (int64_t j = 0; j < cols; ++j) c[i * cols + j] += x * r[k * cols + j];
      }
    }
    return c;
  };
  std::vector<double> divided(m.data.begin(), m.data.end()), moments(h.begin(), h.end());
  for (int64_t i = 0; i < m.rows * cols; ++i) divided[i] /= t[i % cols];
  for (int64_t i = 0; i < cols; ++i) {
    moments[i * cols + i] += 0.01 * mean;
    for (int64_t j = 0; j < cols; ++j) moments[i * cols + j] *= t[i] * t[j];
  }
  const auto turned = product(m.rows, divided, false);
  const auto turned_moments = product(cols, product(cols, moments, false), true);
  const std::vector<float> w(turned.begin(), turned.end()), s(turned_moments.begin(), turned_moments.end());
  options.normalize = Normalize::none;
  const auto by_hand = quantize_matrix_gptq({w.data(), m.rows, cols}, s, {3, 64}, options,
                                            {.damping = 0, .ordered_groups = by_diagonal ? 64 : 0});
  // A weight between two codes may fall either way, and takes the rest of its row along.
  const auto one = by_hand.part("codes"), other = rotated.part("codes");
  int64_t same = 0;
  for (size_t i = 0; i < one.size(); ++i) same += one[i] == other[i];
  EXPECT_GT(same, static_cast<int64_t>(one.size()) * 9 / 10) << "seed " << kSeed;
  options.normalize = Normalize::columns;
  const auto columns = quantize_matrix_gptq(m.view(), h, {3, 64}, options, {.ordered_groups = by_diagonal ? 64 : 0});
  EXPECT_LT(error_by_definition(m, rotated, h), 0.9 * error_by_definition(m, columns, h));
}

INSTANTIATE_TEST_SUITE_P(Orders, GptqRotation, testing::Bool());

}  // namespace
}  // namespace mxq
