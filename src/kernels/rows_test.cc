// Row kernels: every instruction set against the scalar reference in double precision.
#include "kernels/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "every_exponent.h"
#include "random_floats.h"
#include "simd_targets.h"

namespace mxq {
namespace {

class Rows : public EverySimdTarget {
 protected:
  std::vector<float> random_row(int64_t n, float spread) { return normal_floats(random_, n, spread); }
  std::mt19937 random_{11};
};

/// As many floats as three of the longest vectors, and a few that are left over.
constexpr int64_t kThreeVectors = 3 * 16 + 3;

void expect_same(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(same_value(found[i], expected[i])) << found[i] << ", not " << expected[i] << ", at " << i;
  }
}

void expect_near(const std::vector<float>& found, const std::vector<float>& expected, double relative) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], relative * std::abs(expected[i]) + 1e-30) << "element " << i << ", seed 11";
  }
}

TEST_P(Rows, SiluIsRightOverItsWholeRange) {
  const auto x = every_exponent();
  ASSERT_GT(x.size(), 32000U);
  const std::vector<float> up(x.size(), 1.0f);
  auto found = x, expected = x;
  silu_multiply(found.data(), up.data(), std::ssize(x));
  ref::silu_multiply(expected.data(), up.data(), std::ssize(x));
  for (size_t i = 0; i < x.size(); ++i) {
    // Where exp(-x) is beyond fp32 the product is 0, as it is in other programs; it is 3e-37 at most.
    ASSERT_NEAR(found[i], expected[i], 2e-6 * std::abs(expected[i]) + 1e-36) << "silu(" << x[i] << ")";
  }
}

TEST_P(Rows, GeluIsRightOverItsWholeRange) {
  const auto x = every_exponent();
  const std::vector<float> up(x.size(), 1.0f);
  auto found = x, expected = x;
  gelu_multiply(found.data(), up.data(), std::ssize(x));
  ref::gelu_multiply(expected.data(), up.data(), std::ssize(x));
  for (size_t i = 0; i < x.size(); ++i) {
    // The exponent is known to fp32, so that far from 0 the exponential is good to its size times that.
    ASSERT_NEAR(found[i], expected[i], 2e-5 * std::abs(expected[i]) + 1e-36) << "gelu(" << x[i] << ")";
  }
  // By the definition.
  std::vector<float> known{-1, 0.5f, 3}, one(3, 1.0f);
  gelu_multiply(known.data(), one.data(), 3);
  EXPECT_NEAR(known[0], -0.5 * (1 - std::tanh(std::sqrt(2 / M_PI) * 1.044715)), 1e-6);
  EXPECT_NEAR(known[1], 0.25 * (1 + std::tanh(std::sqrt(2 / M_PI) * (0.5 + 0.044715 / 8))), 1e-6);
  EXPECT_NEAR(known[2], 1.5 * (1 + std::tanh(std::sqrt(2 / M_PI) * (3 + 0.044715 * 27))), 1e-6);
}

TEST_P(Rows, TheClampedActivationIsRightOverItsWholeRange) {
  const auto x = every_exponent();
  for (const float value : {0.0f, -3.0f, 9.0f}) {
    const std::vector<float> others(x.size(), value);
    auto of_gate = x, expected_of_gate = x, of_up = others, expected_of_up = others;
    clamped_multiply(of_gate.data(), others.data(), std::ssize(x));
    ref::clamped_multiply(expected_of_gate.data(), others.data(), std::ssize(x));
    clamped_multiply(of_up.data(), x.data(), std::ssize(x));
    ref::clamped_multiply(expected_of_up.data(), x.data(), std::ssize(x));
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_NEAR(of_gate[i], expected_of_gate[i], 2e-5 * std::abs(expected_of_gate[i]) + 1e-35) << x[i];
      ASSERT_NEAR(of_up[i], expected_of_up[i], 2e-5 * std::abs(expected_of_up[i]) + 1e-35) << x[i];
    }
  }
  // By transformers' GptOssExperts: gate * sigmoid(1.702 gate) * (up + 1), gate at most 7, up within 7.
  std::vector<float> known{-1, 0.5f, 8, 3}, up{2, -30, 8, -1};
  clamped_multiply(known.data(), up.data(), 4);
  EXPECT_NEAR(known[0], -3 / (1 + std::exp(1.702)), 1e-6);
  EXPECT_NEAR(known[1], 0.5 / (1 + std::exp(-0.851)) * -6, 1e-6);
  EXPECT_NEAR(known[2], 7 / (1 + std::exp(-1.702 * 7)) * 8, 1e-5);
  EXPECT_EQ(known[3], 0);
  for (const auto& [gate, other] : {std::pair(NAN, 1.0f), std::pair(1.0f, NAN)}) {
    float row = gate;
    clamped_multiply(&row, &other, 1);
    EXPECT_TRUE(std::isnan(row));
  }
}

TEST_P(Rows, SoftCapIsRightOverItsWholeRange) {
  for (const float cap : {30.0f, 0.5f}) {
    for (const float scale : {1.0f, 0.0625f}) {
      const auto x = every_float();
      auto found = x, expected = x;
      soft_cap(found.data(), scale, cap, std::ssize(x));
      ref::soft_cap(expected.data(), scale, cap, std::ssize(x));
      for (size_t i = 0; i < x.size(); ++i) {
        if (std::isnan(x[i])) {
          ASSERT_TRUE(std::isnan(found[i]));
        } else {
          ASSERT_NEAR(found[i], expected[i], 2e-6 * std::abs(expected[i]) + 1e-38) << x[i] << ", cap " << cap;
        }
      }
    }
  }
}

TEST_P(Rows, Centers) {
  for (const int64_t n : {1, 5, 48, 1000}) {
    auto row = random_row(n, 3);
    for (float& x : row) x += 10;
    auto found = row, expected = row;
    center(row.data(), n, found.data());
    ref::center(row.data(), n, expected.data());
    for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-5) << n << ", " << i;
    row.back() = NAN;
    center(row.data(), n, row.data());
    EXPECT_TRUE(std::isnan(row[0]));
  }
}

TEST_P(Rows, SiluOfInfinitiesAndNan) {
  const std::vector<float> x{INFINITY, -INFINITY, NAN, -0.0f, 1e-45f};
  for (int64_t n = 1; n <= kThreeVectors; ++n) {
    auto found = spread(x, 0, static_cast<size_t>(n)), expected = found, gelu = found, expected_gelu = found;
    const std::vector<float> up(found.size(), 1.0f);
    silu_multiply(found.data(), up.data(), n);
    ref::silu_multiply(expected.data(), up.data(), n);
    expect_same(found, expected);
    gelu_multiply(gelu.data(), up.data(), n);
    ref::gelu_multiply(expected_gelu.data(), up.data(), n);
    expect_same(gelu, expected_gelu);
  }
}

TEST_P(Rows, TheClampedActivationOfInfinitiesAndNan) {
  const std::vector<float> x{INFINITY, -INFINITY, NAN, -0.0f};
  for (int64_t n = 1; n <= kThreeVectors; ++n) {
    auto found = spread(x, 0, static_cast<size_t>(n)), expected = found;
    const std::vector<float> up(found.size(), 1.0f);
    clamped_multiply(found.data(), up.data(), n);
    ref::clamped_multiply(expected.data(), up.data(), n);
    expect_same(found, expected);
  }
}

TEST_P(Rows, AddsAnything) {
  const auto all = every_float();
  for (int64_t n = 0; n <= kThreeVectors; ++n) {
    auto found = spread(all, static_cast<size_t>(n) * 631, static_cast<size_t>(n)), expected = found;
    const auto y = spread(all, static_cast<size_t>(n) * 211 + 5, found.size());
    add(found.data(), y.data(), n);
    ref::add(expected.data(), y.data(), n);
    expect_same(found, expected);
  }
  for (const float special : {INFINITY, -INFINITY, NAN}) {
    auto found = all, expected = all;
    const std::vector<float> y(all.size(), special);
    add(found.data(), y.data(), std::ssize(all));
    ref::add(expected.data(), y.data(), std::ssize(all));
    expect_same(found, expected);
  }
}

TEST_P(Rows, NormIsRightOverItsWholeRange) {
  constexpr float kEps = 1e-5f;
  for (const int64_t n : {1, 4, 7, 16, 33, 50}) {
    const auto weight = random_row(n, 1);
    for (const float x : every_exponent()) {
      std::vector<float> row(static_cast<size_t>(n), x), found(row.size()), expected(row.size());
      for (size_t i = 1; i < row.size(); i += 3) row[i] *= -0.5f;
      const float mean = rms_norm(row.data(), weight.data(), kEps, n, found.data());
      const float wanted = ref::rms_norm(row.data(), weight.data(), kEps, n, expected.data());
      ASSERT_EQ(std::isfinite(mean), std::isfinite(wanted)) << x << ", n " << n;
      if (std::isfinite(wanted)) {
        ASSERT_NEAR(mean, wanted, 2e-6 * wanted + 1e-44) << x;
      }
      for (size_t i = 0; i < row.size(); ++i) {
        // By the formula; 0 where the squares overflow, as torch.rsqrt(inf) has it.
        ASSERT_NEAR(found[i], expected[i], 3e-6 * std::abs(expected[i]) + 1e-42) << x << ", n " << n << ", " << i;
        ASSERT_TRUE(std::isfinite(mean) || found[i] == 0) << x;
      }
    }
    for (int64_t at = 0; at < n; ++at) {
      for (const float bad : {INFINITY, -INFINITY, NAN}) {
        auto row = random_row(n, 1), found = row;
        row[static_cast<size_t>(at)] = bad;
        EXPECT_FALSE(std::isfinite(rms_norm(row.data(), weight.data(), kEps, n, found.data()))) << n << ", " << at;
        EXPECT_FALSE(std::isfinite(ref::rms_norm(row.data(), weight.data(), kEps, n, found.data()))) << n << ", " << at;
      }
    }
  }
}

TEST_P(Rows, GradientOfTheNormIsRightWhereTheNormIsFinite) {
  for (const int64_t n : {1, 7, 16, 33}) {
    const auto shape = random_row(n, 1), weight = random_row(n, 1), outer = random_row(n, 1);
    for (int exponent = -149; exponent <= 60; ++exponent) {
      auto row = shape;
      for (float& x : row) x = std::ldexp(x, exponent);
      std::vector<float> found(row.size()), expected(row.size());
      add_rms_norm_gradient(row.data(), weight.data(), 1e-5f, outer.data(), n, found.data());
      ref::add_rms_norm_gradient(row.data(), weight.data(), 1e-5f, outer.data(), n, expected.data());
      double largest = 0;  // of the terms whose difference it is
      for (size_t i = 0; i < row.size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(weight[i]) * outer[i]));
      }
      double mean = 0;
      for (const float x : row) mean += static_cast<double>(x) * x / static_cast<double>(n);
      for (size_t i = 0; i < row.size(); ++i) {
        ASSERT_NEAR(found[i], expected[i], 1e-5 * largest * static_cast<double>(n) / std::sqrt(mean + 1e-5))
            << "2^" << exponent << ", n " << n;
      }
    }
  }
}

TEST_P(Rows, DotIsRightOverItsWholeRange) {
  for (const int64_t n : {0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 64, 67, 100}) {
    for (const float x : every_exponent()) {
      std::vector<float> row(static_cast<size_t>(n), x), other(row.size(), 1.0f);
      for (size_t i = 0; i < row.size(); i += 3) other[i] = -0.25f;
      const double magnitude = std::abs(static_cast<double>(x)) * static_cast<double>(n);
      if (magnitude > std::numeric_limits<float>::max()) continue;
      const double smallest = 1.5e-45 * static_cast<double>(n);  // products of denormals are rounded to it
      ASSERT_NEAR(dot(row.data(), other.data(), n), ref::dot(row.data(), other.data(), n), 2e-6 * magnitude + smallest)
          << x;
    }
    for (int64_t at = 0; at < n; ++at) {
      auto row = random_row(n, 1);
      const auto other = random_row(n, 1);
      row[static_cast<size_t>(at)] = NAN;
      EXPECT_TRUE(std::isnan(dot(row.data(), other.data(), n)));
      row[static_cast<size_t>(at)] = 3e38f;
      const std::vector<float> large(row.size(), 1e30f);
      EXPECT_EQ(dot(row.data(), large.data(), n), INFINITY);
    }
  }
}

TEST_P(Rows, PairsAreRotatedOverTheirWholeRange) {
  const auto all = every_float();
  for (int64_t half = 0; half <= kThreeVectors; ++half) {
    const auto size = static_cast<size_t>(half);
    const std::vector<float> cos(size, 0.6f), sin(size, 0.8f);
    for (size_t start = 0; start < all.size(); start += 997) {
      auto found = spread(all, start, 2 * size), expected = found;
      const auto head = found;
      rotate_pairs(found.data(), cos.data(), sin.data(), half);
      ref::rotate_pairs(expected.data(), cos.data(), sin.data(), half);
      for (size_t i = 0; i < found.size(); ++i) {
        if (same_value(found[i], expected[i])) continue;
        const double a = head[i % size], b = head[size + i % size];
        ASSERT_NEAR(found[i], expected[i], 3e-7 * (std::abs(a) + std::abs(b)) + 1e-44) << a << " and " << b;
      }
    }
  }
}

TEST_P(Rows, SoftmaxInBf16IsRightOverItsWholeRange) {
  for (const float x : every_exponent()) {
    for (const int64_t n : {2, 7, 33}) {
      std::vector<float> row(static_cast<size_t>(n));
      row.back() = x;
      std::vector<uint16_t> found(row.size()), expected(row.size());
      const float sum = softmax_bf16(row.data(), 0.25f, n, found.data());
      ASSERT_NEAR(sum / ref::softmax_bf16(row.data(), 0.25f, n, expected.data()), 1, 1e-5) << x;
      for (size_t i = 0; i < row.size(); ++i) {
        ASSERT_NEAR(std::max<int>(found[i], 0x80), std::max<int>(expected[i], 0x80), 1) << x;
      }
    }
  }
  // As attention has it where nothing may be looked at.
  std::vector<float> row{0, -INFINITY, 1};
  std::vector<uint16_t> found(3);
  EXPECT_NEAR(softmax_bf16(row.data(), 1, 3, found.data()), 1 + std::exp(-1.0), 1e-5);
  EXPECT_LE(found[1], 0x80);
}

TEST_P(Rows, Bf16IsRightOverItsWholeRange) {
  const auto x = every_exponent();
  std::vector<uint16_t> found(x.size()), expected(x.size());
  to_bf16(x.data(), std::ssize(x), found.data());
  ref::to_bf16(x.data(), std::ssize(x), expected.data());
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(found[i], expected[i]) << x[i];
}

TEST_P(Rows, ExponentialsAreRightOverTheirWholeRange) {
  for (const float x : every_exponent()) {
    const float top = std::max(x, 0.0f), distance = -std::abs(x);
    std::vector<float> row{0, x};
    ASSERT_NEAR(log_sum_exp(row.data(), 2), ref::log_sum_exp(row.data(), 2), 2e-7 * top + 1e-6) << x;
    softmax(row.data(), 1, 2);
    const double less = std::exp(static_cast<double>(distance));
    ASSERT_NEAR(row[x > 0 ? 0 : 1], less / (1 + less), 1e-6 * less + 1e-37) << x;
  }
}

TEST_P(Rows, EqualTheReference) {
  std::vector<int64_t> lengths{64, 100, 1000};
  for (int64_t n = 1; n <= kThreeVectors; ++n) lengths.push_back(n);
  for (const int64_t n : lengths) {
    for (const float spread : {1e-3f, 1.f, 30.f}) {
      SCOPED_TRACE(testing::Message() << "n " << n << ", spread " << spread);
      const auto row = random_row(n, spread), other = random_row(n, 1);
      auto found = row, expected = row;
      rms_norm(row.data(), other.data(), 1e-5f, n, found.data());
      ref::rms_norm(row.data(), other.data(), 1e-5f, n, expected.data());
      expect_near(found, expected, 2e-6);
      found = expected = other;
      const auto outer = random_row(n, 1);
      add_rms_norm_gradient(row.data(), other.data(), 1e-5f, outer.data(), n, found.data());
      ref::add_rms_norm_gradient(row.data(), other.data(), 1e-5f, outer.data(), n, expected.data());
      for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 2e-5 * (1 + 5 / spread)) << i;
      EXPECT_NEAR(dot(row.data(), other.data(), n), ref::dot(row.data(), other.data(), n),
                  1e-5 * spread * static_cast<double>(n));
      found = expected = row;
      silu_multiply(found.data(), other.data(), n);
      ref::silu_multiply(expected.data(), other.data(), n);
      expect_near(found, expected, 2e-6);
      EXPECT_NEAR(log_sum_exp(row.data(), n), ref::log_sum_exp(row.data(), n), 1e-5 * (1 + spread));
      found = expected = row;
      softmax(found.data(), 0.25f, n);
      ref::softmax(expected.data(), 0.25f, n);
      for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-5) << i;
      std::vector<uint16_t> halves(row.size()), expected_halves(row.size());
      const float sum = softmax_bf16(row.data(), 0.25f, n, halves.data());
      EXPECT_NEAR(sum / ref::softmax_bf16(row.data(), 0.25f, n, expected_halves.data()), 1, 1e-5);
      // The last bit of bf16 may differ where the exponential falls on a rounding boundary.
      // Below 2^-126 there are only zeros, or the smallest number instead of one.
      for (size_t i = 0; i < row.size(); ++i) {
        ASSERT_NEAR(std::max<int>(halves[i], 0x80), std::max<int>(expected_halves[i], 0x80), 1) << i;
      }
    }
  }
}

TEST_P(Rows, GradientOfTheNormIsItsSlope) {
  const int64_t n = 37;
  const auto x = random_row(n, 1), weight = random_row(n, 1), outer = random_row(n, 1);
  const auto value = [&](const std::vector<float>& at) {
    std::vector<float> out(at.size());
    ref::rms_norm(at.data(), weight.data(), 0.1f, n, out.data());
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) sum += static_cast<double>(out[i]) * outer[i];
    return sum;
  };
  std::vector<float> gradient(x.size(), 1);
  add_rms_norm_gradient(x.data(), weight.data(), 0.1f, outer.data(), n, gradient.data());
  for (size_t i = 0; i < x.size(); ++i) {
    auto above = x, below = x;
    above[i] += 0.01f;
    below[i] -= 0.01f;
    EXPECT_NEAR(gradient[i] - 1, (value(above) - value(below)) / 0.02, 2e-3) << i;
  }
}

TEST_P(Rows, PairsAreRotated) {
  for (const int64_t half : {1, 4, 16, 23, 64}) {
    const auto head = random_row(2 * half, 1), angles = random_row(half, 10);
    std::vector<float> cos, sin;
    for (const float angle : angles) {
      cos.push_back(std::cos(angle));
      sin.push_back(std::sin(angle));
    }
    auto found = head, expected = head;
    rotate_pairs(found.data(), cos.data(), sin.data(), half);
    ref::rotate_pairs(expected.data(), cos.data(), sin.data(), half);
    for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-6) << half << ", " << i;
    found = expected = head;
    rotate_neighbours(found.data(), cos.data(), sin.data(), half);
    ref::rotate_neighbours(expected.data(), cos.data(), sin.data(), half);
    for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], 1e-6) << half << ", " << i;
  }
}

TEST_P(Rows, ExponentialsKeepNan) {
  for (const int64_t at : {0, 5, 36}) {
    auto row = random_row(37, 1);
    row[static_cast<size_t>(at)] = NAN;
    std::vector<uint16_t> halves(37);
    EXPECT_TRUE(std::isnan(log_sum_exp(row.data(), 37))) << at;
    EXPECT_TRUE(std::isnan(softmax_bf16(row.data(), 1, 37, halves.data()))) << at;
    softmax(row.data(), 1, 37);
    EXPECT_TRUE(std::isnan(row[0])) << at;
  }
}

TEST_P(Rows, MeanSquareIsNotFiniteWhereAValueIsNot) {
  for (const float bad : {NAN, INFINITY}) {
    auto row = random_row(37, 1);
    row[36] = bad;
    EXPECT_FALSE(std::isfinite(rms_norm(row.data(), row.data(), 1e-5f, 37, row.data())));
  }
}

TEST_P(Rows, Bf16RoundsToNearestEven) {
  std::vector<float> row = random_row(1000, 1e3f);
  const float special[] = {0.f, -0.f, 1.00390625f, 1.01171875f, 3.4e38f, INFINITY, -INFINITY, NAN, 1e-45f, -1e-40f};
  row.insert(row.end(), std::begin(special), std::end(special));
  std::vector<uint16_t> found(row.size()), expected(row.size());
  to_bf16(row.data(), static_cast<int64_t>(row.size()), found.data());
  ref::to_bf16(row.data(), static_cast<int64_t>(row.size()), expected.data());
  EXPECT_EQ(found, expected);
  // By the definition: 1 + 2^-8 is halfway between 1 and 1 + 2^-7 and goes to the even one; 1 + 3 * 2^-8 goes up.
  EXPECT_EQ(found[1002], 0x3F80);
  EXPECT_EQ(found[1003], 0x3F82);
  EXPECT_EQ(found[1004], 0x7F80);  // beyond the largest bf16
}

TEST_P(Rows, LargeValuesDoNotOverflow) {
  std::vector<float> row{-1e4f, 1e4f, 1e4f, -1e30f};
  EXPECT_NEAR(log_sum_exp(row.data(), 4), 1e4 + std::log(2.0), 1e-2);
  softmax(row.data(), 1, 4);
  EXPECT_NEAR(row[1], 0.5, 1e-6);
  EXPECT_EQ(row[3], 0);
  std::vector<float> gate{-1e4f, 1e4f}, up{1, 1};
  silu_multiply(gate.data(), up.data(), 2);
  EXPECT_NEAR(gate[0], 0, 1e-20);
  EXPECT_EQ(gate[1], 1e4f);
}

void expect_equal(const RowDivergence& found, const RowDivergence& expected, double relative) {
  EXPECT_NEAR(found.kl, expected.kl, 5e-7 + relative * expected.kl);
  EXPECT_NEAR(found.base_log_sum, expected.base_log_sum, 2e-7 + 2e-7 * std::abs(expected.base_log_sum));
  EXPECT_NEAR(found.other_log_sum, expected.other_log_sum, 2e-7 + 2e-7 * std::abs(expected.other_log_sum));
  EXPECT_EQ(found.base_top, expected.base_top);
  EXPECT_EQ(found.other_top, expected.other_top);
}

TEST_P(Rows, DivergenceEqualsTheReference) {
  for (const int64_t n : {1, 2, 7, 16, 17, 100, 1000, 49152}) {
    for (const float spread : {1e-3f, 1.f, 8.f}) {
      for (const float apart : {1e-4f, 1e-2f, 1.f, 10.f}) {
        SCOPED_TRACE(testing::Message() << "n " << n << ", spread " << spread << ", apart " << apart << ", seed 11");
        const auto base = random_row(n, spread);
        auto other = random_row(n, apart);
        for (size_t i = 0; i < other.size(); ++i) other[i] += base[i];
        expect_equal(row_divergence(base.data(), other.data(), n), ref::row_divergence(base.data(), other.data(), n),
                     1e-6);
      }
    }
  }
}

TEST_P(Rows, DivergenceOfEqualRowsIsZero) {
  for (const int64_t n : {1, 31, 1000}) {
    const auto row = random_row(n, 5);
    EXPECT_EQ(row_divergence(row.data(), row.data(), n).kl, 0) << n;
    // A constant changes no distribution: exact where it costs no bits of the logits.
    std::vector<float> whole(row.size()), shifted;
    for (size_t i = 0; i < row.size(); ++i) whole[i] = std::round(row[i]);
    shifted = whole;
    for (float& x : shifted) x += 16;
    EXPECT_EQ(row_divergence(whole.data(), shifted.data(), n).kl, 0) << n;
  }
}

TEST_P(Rows, DivergenceByFormula) {
  // Two outcomes of probabilities 1/4, 3/4 against 1/2, 1/2.
  const std::vector<float> base{0, std::log(3.f)}, even{7, 7};
  EXPECT_NEAR(row_divergence(base.data(), even.data(), 2).kl, 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 2e-7);
  EXPECT_NEAR(row_divergence(even.data(), base.data(), 2).kl, 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3), 2e-7);
  EXPECT_EQ(row_divergence(even.data(), base.data(), 2).base_top, 0);  // the first of equals
  // All mass on one token each: the other gives it exp(-100).
  for (const int64_t n : {2, 16, 50}) {
    std::vector<float> one(static_cast<size_t>(n), -100.f), two = one;
    one.front() = two.back() = 0;
    EXPECT_NEAR(row_divergence(one.data(), two.data(), n).kl, 100, 1e-5);
    EXPECT_EQ(row_divergence(one.data(), two.data(), n).other_top, n - 1);
    one.front() = two.back() = 1e30f;  // differences that overflow nothing
    EXPECT_TRUE(std::isfinite(row_divergence(one.data(), two.data(), n).kl));
    one[static_cast<size_t>(n) / 2] = NAN;
    EXPECT_TRUE(std::isnan(row_divergence(one.data(), two.data(), n).kl));
  }
}

TEST_P(Rows, DivergenceIsRightOverItsWholeRange) {
  const auto all = every_exponent();
  for (const int64_t n : {1, 2, 7, 16, 33}) {
    for (size_t start = 0; start < all.size(); start += n == 2 ? 1 : 31) {
      std::vector<float> base(static_cast<size_t>(n)), other(base.size());
      base.front() = other.back() = all[start];
      if (start % 2 == 0) other = spread(all, start, other.size());
      const auto found = row_divergence(base.data(), other.data(), n);
      const auto expected = ref::row_divergence(base.data(), other.data(), n);
      SCOPED_TRACE(testing::Message() << all[start] << ", n " << n);
      ASSERT_GE(found.kl, 0);
      if (std::isinf(expected.kl)) {
        ASSERT_EQ(found.kl, expected.kl);
      } else if (expected.kl < 1e36 || std::isfinite(found.kl)) {  // else some of its terms add up beyond fp32
        ASSERT_NEAR(found.kl, expected.kl, 1e-6 + 2e-6 * expected.kl);
      }
      ASSERT_NEAR(found.base_log_sum, expected.base_log_sum, 2e-6 + 2e-7 * std::abs(expected.base_log_sum));
      ASSERT_NEAR(found.other_log_sum, expected.other_log_sum, 2e-6 + 2e-7 * std::abs(expected.other_log_sum));
    }
  }
}

/// KL of what is nearly equal is what a sum of large terms leaves: never below 0, and by the definition.
TEST_P(Rows, DivergenceOfNearRowsIsNotNegative) {
  for (int draw = 0; draw < 2000; ++draw) {
    const int64_t n = 1 + draw % 300;
    const auto base = random_row(n, 3), change = random_row(n, std::ldexp(1.0f, -draw % 24));
    auto other = base;
    for (size_t i = 0; i < other.size(); ++i) other[i] += change[i];
    double p_sum = 0, q_sum = 0, kl = 0;
    for (size_t i = 0; i < base.size(); ++i) {
      p_sum += std::exp(static_cast<double>(base[i]));
      q_sum += std::exp(static_cast<double>(other[i]));
    }
    for (size_t i = 0; i < base.size(); ++i) {
      const double p = std::exp(static_cast<double>(base[i])) / p_sum;
      kl += p * (static_cast<double>(base[i]) - other[i] - std::log(p_sum) + std::log(q_sum));
    }
    const double found = row_divergence(base.data(), other.data(), n).kl;
    ASSERT_GE(found, 0) << "draw " << draw << ", seed 11";
    ASSERT_NEAR(found, kl, 8e-7 + 1e-6 * kl) << "draw " << draw << ", seed 11";
  }
}

TEST_P(Rows, DivergenceOfInfinitiesAndNan) {
  for (int64_t n = 2; n <= kThreeVectors; ++n) {
    for (int64_t at = 0; at < n; at += 3) {
      const auto place = static_cast<size_t>(at);
      const auto kl = [&](float in_base, float in_other) {
        std::vector<float> base(static_cast<size_t>(n)), other(base.size());
        base[place] = in_base;
        other[place] = in_other;
        const double found = row_divergence(base.data(), other.data(), n).kl;
        EXPECT_TRUE(same_value(found, ref::row_divergence(base.data(), other.data(), n).kl) ||
                    std::abs(found - ref::row_divergence(base.data(), other.data(), n).kl) < 1e-6)
            << in_base << ", " << in_other << ", " << n;
        return found;
      };
      EXPECT_NEAR(kl(-INFINITY, 0), std::log(static_cast<double>(n) / static_cast<double>(n - 1)), 1e-6);
      EXPECT_NEAR(kl(-INFINITY, -INFINITY), 0, 1e-6);
      EXPECT_EQ(kl(0, -INFINITY), INFINITY);
      for (const float bad : {NAN, INFINITY}) {
        EXPECT_TRUE(std::isnan(kl(bad, 0)));
        EXPECT_TRUE(std::isnan(kl(0, bad)));
        EXPECT_TRUE(std::isnan(kl(-INFINITY, bad)));
      }
    }
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(Rows);

}  // namespace
}  // namespace mxq
