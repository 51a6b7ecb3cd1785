// Every instruction set of this machine against the scalar reference: the same bits, on random and adversarial groups.
#include "kernels/affine_tile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "every_exponent.h"
#include "simd_targets.h"

namespace mxq {
namespace {

/// Lanes hold groups of every kind; n elements each.
struct TestTile {
  alignas(64) float data[256 * kTileLanes];
  int n;
};

TestTile make_tile(int n, std::mt19937& random) {
  TestTile tile{};
  tile.n = n;
  std::normal_distribution<float> normal;
  for (int i = 0; i < n; ++i) {
    for (int l = 0; l < kTileLanes; ++l) {
      const float x = normal(random);
      float w = 0.02f * x;
      switch (l) {
        case 0:
          w = 0.0f;
          break;  // all zero
        case 1:
          w = 0.37f;
          break;  // constant
        case 2:
          w = -5.0f;
          break;  // negative constant
        case 3:
          w = -std::fabs(w) - 0.1f;
          break;  // all negative
        case 4:
          w = std::fabs(w) + 1e-3f;
          break;  // all positive
        case 5:
          w = i == n / 2 ? 8.0f : w;
          break;  // one outlier
        case 6:
          w = i == 0 ? -1e3f : w;
          break;  // a worse one
        case 7:
          w = x * 1e-41f;
          break;  // denormal
        case 8:
          w = x * 1e3f;
          break;  // large errors: hqq's shrinking
        case 9:
          w = x * 1e-8f;
          break;  // tiny
        case 10:
          w = i % 2 == 0 ? 1.0f : -1.0f;
          break;  // two values
        case 11:
          w = static_cast<float>(i) * 0.125f;
          break;  // ramp, ties
        case 12:
          w = std::ldexp(x, i % 20 - 10);
          break;  // range 1e3 and more
        case 13:
          w = 1e4f + x;
          break;  // far from zero
        default:
          break;
      }
      tile.data[i * kTileLanes + l] = w;
    }
  }
  return tile;
}

template <typename Value>
testing::AssertionResult same_bits(const std::vector<Value>& a, const std::vector<Value>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (same_value(a[i], b[i])) continue;
    return testing::AssertionFailure() << "entry " << i << " (lane " << i % kTileLanes << "): " << +a[i] << " and "
                                       << +b[i];
  }
  return testing::AssertionSuccess();
}

class AffineTile : public EverySimdTarget {
 protected:
  using Floats = std::vector<float>;
  static Floats lanes() { return Floats(kTileLanes); }
};

/// All kernels on a tile of finite weights, with what the fits would give them.
void expect_the_reference(const TestTile& tile, std::mt19937& random, const std::string& what) {
  const auto lanes = [] { return std::vector<float>(kTileLanes); };
  using Floats = std::vector<float>;
  const int n = tile.n;
  for (const int max_code : {3, 7, 15, 31, 255}) {
    SCOPED_TRACE(testing::Message() << what << ", n " << n << " max_code " << max_code << " seed 42");
    auto min = lanes(), max = lanes(), min2 = lanes(), max2 = lanes();
    tile_min_max(tile.data, n, min.data(), max.data());
    ref::tile_min_max(tile.data, n, min2.data(), max2.data());
    ASSERT_TRUE(same_bits(min, min2));
    ASSERT_TRUE(same_bits(max, max2));

    auto inverse = lanes(), zero = lanes();
    for (int l = 0; l < kTileLanes; ++l) {
      const float range = max[l] - min[l];
      inverse[l] = range <= 1e-4f ? 1.0f : static_cast<float>(max_code) / range;
      if (std::isinf(range)) inverse[l] = 3e-39f;  // as affine/fit.cc has it, about
      zero[l] = -min[l] * inverse[l];
    }
    Floats zeros(6 * kTileLanes), errors(6 * kTileLanes), zeros2 = zeros, errors2 = errors;
    tile_hqq_rounds(tile.data, n, max_code, inverse.data(), zero.data(), 6, zeros.data(), errors.data());
    ref::tile_hqq_rounds(tile.data, n, max_code, inverse.data(), zero.data(), 6, zeros2.data(), errors2.data());
    ASSERT_TRUE(same_bits(zeros, zeros2));
    ASSERT_TRUE(same_bits(errors, errors2));

    const float shrinks[] = {1.0f, 0.85f, 0.7f};
    const float nudges[] = {0.95f, 1.05f};
    const LeastSquaresSearch search{.shrinks = shrinks, .starts = 3, .nudges = nudges, .nudge_count = 2, .rounds = 6};
    Floats some_weights(n);
    for (float& h : some_weights) h = std::ldexp(1.0f, static_cast<int>(random() % 12) - 6);
    auto scale = lanes(), center = lanes();
    for (const float* weights : {static_cast<const float*>(some_weights.data()), static_cast<const float*>(nullptr)}) {
      auto scale2 = lanes(), center2 = lanes();
      tile_fit_mse(tile.data, weights, n, max_code, min.data(), max.data(), search, scale.data(), center.data());
      ref::tile_fit_mse(tile.data, weights, n, max_code, min.data(), max.data(), search, scale2.data(), center2.data());
      ASSERT_TRUE(same_bits(scale, scale2));
      ASSERT_TRUE(same_bits(center, center2));
      for (int l = 0; l < kTileLanes; ++l) ASSERT_TRUE(std::isfinite(scale[l]) && std::isfinite(center[l])) << l;
    }

    for (const float offset_limit : {0.25f * static_cast<float>(max_code), 127.0f}) {
      for (const float scale_limit : {0.01f, 1e30f}) {
        auto s = scale, c = center, s2 = scale, c2 = center;
        const MetadataRange range{scale_limit, offset_limit};
        const float* weights = scale_limit < 1 ? some_weights.data() : nullptr;
        tile_fit_bounded(tile.data, weights, n, max_code, range, 4, s.data(), c.data());
        ref::tile_fit_bounded(tile.data, weights, n, max_code, range, 4, s2.data(), c2.data());
        ASSERT_TRUE(same_bits(s, s2));
        ASSERT_TRUE(same_bits(c, c2));
        for (int l = 0; l < kTileLanes; ++l) {
          ASSERT_LE(s[l], scale_limit);
          ASSERT_LE(std::fabs(c[l]), 1.0001f * offset_limit * s[l]);
        }
      }
    }

    for (const auto& [scale_step, zero_step] : {std::pair{1e-4f, 0.01f}, {0.02f, 0.5f}, {0.0f, 0.0f}}) {
      for (const SnapSearch neighbours : {SnapSearch{0, 0, 1}, {1, 1, 1}, {3, 2, 5}}) {
        MetadataSteps steps;
        for (int l = 0; l < kTileLanes; ++l) {
          steps.scale[l] = std::ldexp(scale_step, l % 3);
          steps.zero[l] = std::ldexp(zero_step, l % 2);
        }
        const float* weights = neighbours.scale_reach == 1 ? nullptr : some_weights.data();
        std::vector<uint8_t> u(kTileLanes), u2 = u;
        std::vector<int8_t> i(kTileLanes), i2 = i;
        auto e = lanes(), e2 = lanes();
        tile_snap(tile.data, weights, n, max_code, steps, neighbours, scale.data(), center.data(), u.data(), i.data(),
                  e.data());
        ref::tile_snap(tile.data, weights, n, max_code, steps, neighbours, scale.data(), center.data(), u2.data(),
                       i2.data(), e2.data());
        ASSERT_TRUE(same_bits(u, u2));
        ASSERT_TRUE(same_bits(i, i2));
        ASSERT_TRUE(same_bits(e, e2));
      }
    }

    std::vector<uint8_t> codes(n * kTileLanes), codes2 = codes;
    tile_codes(tile.data, n, max_code, inverse.data(), zero.data(), codes.data());
    ref::tile_codes(tile.data, n, max_code, inverse.data(), zero.data(), codes2.data());
    ASSERT_EQ(codes, codes2);
    auto stored = lanes();
    for (int l = 0; l < kTileLanes; ++l) stored[l] = 1.0f / inverse[l];
    std::vector<double> error(kTileLanes), error2 = error;
    tile_squared_error(tile.data, n, max_code, inverse.data(), stored.data(), zero.data(), error.data());
    ref::tile_squared_error(tile.data, n, max_code, inverse.data(), stored.data(), zero.data(), error2.data());
    ASSERT_TRUE(same_bits(error, error2));
  }
}

TEST_P(AffineTile, EqualsTheReference) {
  std::mt19937 random(42);
  for (const int n : {1, 2, 3, 5, 16, 31, 32, 64, 128, 256}) {
    expect_the_reference(make_tile(n, random), random, "usual weights");
    if (HasFatalFailure()) return;
  }
}

TEST_P(AffineTile, EqualsTheReferenceOverTheWholeRange) {
  std::mt19937 random(42);
  const auto all = every_exponent();
  for (const int n : {1, 7, 64}) {
    for (int exponent = -140; exponent <= 120; exponent += 20) {  // what overflows is the largest
      TestTile tile = make_tile(n, random);
      for (float& w : tile.data) {
        constexpr float kMost = std::numeric_limits<float>::max();
        w = std::clamp(std::ldexp(w, exponent), -kMost, kMost);
      }
      expect_the_reference(tile, random, "weights times 2^" + std::to_string(exponent));
      if (HasFatalFailure()) return;
    }
    for (size_t start = 0; start < 20; ++start) {
      TestTile tile{};
      tile.n = n;
      const auto mixed = spread(all, 1013 * start, static_cast<size_t>(n) * kTileLanes);
      std::copy(mixed.begin(), mixed.end(), tile.data);
      expect_the_reference(tile, random, "weights of all exponents");
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AffineTile, LoadsPutGroupsInLanes) {
  std::mt19937 random(43);
  std::vector<float> source(kTileLanes * 300);
  for (float& x : source) x = static_cast<float>(random());
  for (const int n : {1, 3, 4, 17, 64, 255}) {
    alignas(64) float tile[256 * kTileLanes];
    const float* groups[kTileLanes];
    for (int l = 0; l < kTileLanes; ++l) groups[l] = source.data() + (l * 7 % kTileLanes) * 300 + l % 3;
    tile_load_groups(groups, n, tile);
    for (int i = 0; i < n; ++i) {
      for (int l = 0; l < kTileLanes; ++l) ASSERT_EQ(tile[i * kTileLanes + l], groups[l][i]);
    }
    for (const int lanes : {1, 7, 16}) {
      tile_load_columns(source.data() + 1, 18, lanes, n, tile);
      for (int i = 0; i < n; ++i) {
        for (int l = 0; l < kTileLanes; ++l) {
          ASSERT_EQ(tile[i * kTileLanes + l], source[1 + i * 18 + std::min(l, lanes - 1)]);
        }
      }
    }
  }
}

/// One half-quadratic round on large errors by its formula in fp64: W_e = sign(e) max(|e| - |e|^-0.3 / 10, 0).
TEST_P(AffineTile, HqqShrinksAsItsFormulaSays) {
  alignas(64) float tile[64 * kTileLanes];
  std::mt19937 random(45);
  for (int i = 0; i < 64; ++i) {
    for (int l = 0; l < kTileLanes; ++l) {
      tile[i * kTileLanes + l] = std::ldexp(std::normal_distribution<float>()(random), l - 4);
    }
  }
  const Floats inverse(kTileLanes, 0.7f), zero(kTileLanes, 1.25f);
  auto zeros = lanes(), errors = lanes();
  tile_hqq_rounds(tile, 64, 3, inverse.data(), zero.data(), 1, zeros.data(), errors.data());
  for (int l = 0; l < kTileLanes; ++l) {
    double mean = 0, error = 0;
    for (int i = 0; i < 64; ++i) {
      const double w = tile[i * kTileLanes + l], inv = 0.7f;
      const double q = std::clamp(std::nearbyint(w * inv + 1.25), 0.0, 3.0), e = w - (q - 1.25) / inv;
      const double shrunk = std::copysign(std::max(std::fabs(e) - 0.1 * std::pow(std::fabs(e), -0.3), 0.0), e);
      mean += (q - (w - shrunk) * inv) / 64;
      error += std::fabs(e);
    }
    EXPECT_NEAR(zeros[l], mean, 2e-6 * (1 + error / 64)) << "lane " << l << " seed 45";
    EXPECT_NEAR(errors[l], error, 1e-5 * error);
  }
}

/// Alternating least squares ends at a fixed point: from there, plain (or weighted) least squares in fp64 on its own
/// codes gives the same line.
TEST_P(AffineTile, LeastSquaresEndsAtAFixedPoint) {
  std::mt19937 random(44);
  const TestTile tile = make_tile(64, random);
  Floats some_weights(64);
  for (float& h : some_weights) h = 0.1f + static_cast<float>(random() % 100);
  auto min = lanes(), max = lanes(), scale = lanes(), center = lanes();
  tile_min_max(tile.data, tile.n, min.data(), max.data());
  const float shrink = 0.9f;
  const LeastSquaresSearch search{
      .shrinks = &shrink, .starts = 1, .rounds_per_start = 1, .rounds = 100, .tolerance = 0.0f};
  for (const float* weights : {static_cast<const float*>(nullptr), static_cast<const float*>(some_weights.data())}) {
    for (const int max_code : {3, 7, 15}) {
      tile_fit_mse(tile.data, weights, tile.n, max_code, min.data(), max.data(), search, scale.data(), center.data());
      for (const int l : {3, 4, 14, 15}) {
        SCOPED_TRACE(testing::Message() << "lane " << l << " max_code " << max_code << " seed 44");
        const double s = scale[l], z = 0.5 * max_code - center[l] / s;
        double n = 0, q1 = 0, q2 = 0, w1 = 0, qw = 0;
        for (int i = 0; i < tile.n; ++i) {
          const double w = tile.data[i * kTileLanes + l], h = weights != nullptr ? weights[i] : 1.0;
          const double q = std::clamp(std::nearbyint(w / s + z), 0.0, static_cast<double>(max_code));
          n += h;
          q1 += h * q;
          q2 += h * q * q;
          w1 += h * w;
          qw += h * q * w;
        }
        const double slope = (n * qw - q1 * w1) / (n * q2 - q1 * q1), offset = (w1 - slope * q1) / n;
        EXPECT_NEAR(slope, s, 1e-4 * s);
        EXPECT_NEAR(offset, -z * s, 1e-3 * s);
      }
    }
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(AffineTile);

}  // namespace
}  // namespace mxq
