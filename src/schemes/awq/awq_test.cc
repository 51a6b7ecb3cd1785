// The searches of AWQ against the same written from their definitions, in fp64.
#include "schemes/awq/awq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "expect_error.h"
#include "schemes/feedback/test_matrices.h"

namespace mxq {
namespace {

constexpr int64_t kCols = 96;

/// Inputs of very different sizes.
struct Inputs {
  explicit Inputs(std::mt19937& random) : moments(correlated(kCols, 300, random)) {
    for (int64_t i = 0; i < kCols; ++i) {
      for (int64_t j = 0; j < i; ++j) moments[i * kCols + j] = moments[j * kCols + i];
      magnitudes.push_back(0.8f * std::sqrt(moments[i * kCols + i]));
    }
  }
  std::vector<float> moments, magnitudes;
};

/// Rounding to nearest of groups with minimum and maximum, as quantize_matrix does it.
std::vector<double> rounded(const std::vector<double>& w, int64_t rows, const Scheme& scheme, Metadata metadata) {
  const std::vector<float> floats(w.begin(), w.end());
  std::vector<float> back(floats.size());
  dequantize_matrix(quantize_matrix({floats.data(), rows, kCols}, scheme, {Fit::rtn, 1, metadata}).view(), back.data());
  return {back.begin(), back.end()};
}

double loss(const std::vector<double>& difference, const std::vector<float>& h, int64_t first, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) sum += difference[i] * h[(first + i) * kCols + first + j] * difference[j];
  }
  return sum;
}

TEST(Awq, ScalesAreTheBestOfThoseTried) {
  std::mt19937 random(kSeed);
  const Inputs x(random);
  const Matrix a = gaussian(24, kCols, random), b = gaussian(40, kCols, random);
  const AwqMatrix matrices[] = {{a.view(), {3, 32}}, {b.view(), {4, 64}}};
  const auto found = awq_scales(matrices, x.magnitudes, x.moments, Metadata::f32);
  double least = INFINITY, unscaled = 0, of_found = 0;
  const auto total = [&](const std::vector<double>& s) {
    double sum = 0;
    for (const AwqMatrix& m : matrices) {
      std::vector<double> w(m.weights.data, m.weights.data + m.weights.size());
      for (size_t i = 0; i < w.size(); ++i) w[i] *= s[i % kCols];
      auto back = rounded(w, m.weights.rows, m.scheme, Metadata::f32);
      for (size_t i = 0; i < w.size(); ++i) back[i] = (back[i] - w[i]) / s[i % kCols];
      for (int64_t r = 0; r < m.weights.rows; ++r) {
        sum += loss({back.begin() + r * kCols, back.begin() + (r + 1) * kCols}, x.moments, 0, kCols);
      }
    }
    return sum;
  };
  for (int step = 0; step < 20; ++step) {
    std::vector<double> s;
    for (const float m : x.magnitudes) s.push_back(std::max(std::pow(double{m}, step / 20.0), 1e-4));
    const auto [low, high] = std::minmax_element(s.begin(), s.end());
    const double norm = std::sqrt(*low * *high);
    for (double& v : s) v /= norm;
    const double error = total(s);
    if (step == 0) unscaled = error;
    least = std::min(least, error);
  }
  of_found = total({found.begin(), found.end()});
  EXPECT_NEAR(of_found, least, 1e-3 * least) << "seed " << kSeed;
  EXPECT_LT(of_found, 0.9 * unscaled);
}

TEST(Awq, ClipsAreTheBestOfThoseTried) {
  std::mt19937 random(kSeed);
  const Inputs x(random);
  Matrix m = gaussian(20, kCols, random);
  for (size_t i = 0; i < m.data.size(); i += 37) m.data[i] *= 4;  // outliers to cut
  for (const Scheme& scheme : {Scheme{3, 32}, Scheme{2, 64}}) {
    std::vector<float> clipped(m.data.size());
    awq_clip({m.view(), scheme}, x.moments, clipped.data());
    int64_t cut = 0;
    for (int64_t r = 0; r < m.rows; ++r) {
      for (int64_t first = 0; first < kCols; first += scheme.group) {
        const int64_t n = std::min<int64_t>(scheme.group, kCols - first);
        const auto error_of = [&](const auto& weight) {
          std::vector<double> w(m.data.begin(), m.data.end());
          for (int64_t i = 0; i < n; ++i) w[r * kCols + first + i] = weight(i);
          const auto back = rounded(w, m.rows, scheme, Metadata::f32);
          std::vector<double> d(static_cast<size_t>(n));
          for (int64_t i = 0; i < n; ++i) d[i] = back[r * kCols + first + i] - m.data[r * kCols + first + i];
          return loss(d, x.moments, first, n);
        };
        const float* original = m.data.data() + r * kCols + first;
        float largest = 0;
        for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(original[i]));
        double least = INFINITY;
        for (int step = 0; step < 10; ++step) {
          const double limit = largest * (1 - 0.05 * step);
          least = std::min(least, error_of([&](int64_t i) { return std::clamp<double>(original[i], -limit, limit); }));
        }
        const double found = error_of([&](int64_t i) { return double{clipped[r * kCols + first + i]}; });
        EXPECT_NEAR(found, least, 1e-4 * least + 1e-12)
            << scheme.name() << " " << r << " " << first << " seed " << kSeed;
        cut += !std::equal(original, original + n, clipped.data() + r * kCols + first);
      }
    }
    EXPECT_GT(cut, 5) << scheme.name();
  }
}

/// A power of two changes nothing, however small the weights become: hqq's arithmetic (rtn with fp32 metadata) tells no
/// ranges below 1e-4 apart.
TEST(Awq, SmallWeightsAreClippedAsWell) {
  std::mt19937 random(kSeed);
  const Inputs x(random);
  Matrix m = gaussian(20, kCols, random);
  for (size_t i = 0; i < m.data.size(); i += 37) m.data[i] *= 4;
  std::vector<float> clipped(m.data.size()), of_small(m.data.size());
  awq_clip({m.view(), {3, 32}}, x.moments, clipped.data());
  for (float& w : m.data) w *= 0x1p-20f;
  awq_clip({m.view(), {3, 32}}, x.moments, of_small.data());
  for (float& w : of_small) w *= 0x1p20f;
  EXPECT_EQ(of_small, clipped) << "seed " << kSeed;
  EXPECT_NE(clipped, m.data);
}

TEST(Awq, DeadChannelsAndOtherFamilies) {
  std::mt19937 random(kSeed);
  Inputs x(random);
  for (int64_t j = 0; j < kCols; ++j) x.moments[5 * kCols + j] = x.moments[j * kCols + 5] = 0;
  x.magnitudes[5] = 0;
  const Matrix m = gaussian(16, kCols, random);
  const AwqMatrix one[] = {{m.view(), {3, 32}}};
  for (const float s : awq_scales(one, x.magnitudes, x.moments, Metadata::q8)) EXPECT_TRUE(std::isfinite(s) && s > 0);
  std::fill(x.magnitudes.begin(), x.magnitudes.end(), 0.0f);
  std::fill(x.moments.begin(), x.moments.end(), 0.0f);
  for (const float s : awq_scales(one, x.magnitudes, x.moments, Metadata::q8)) EXPECT_EQ(s, 1);
  const AwqMatrix other[] = {{m.view(), {.bits = 4, .group = 32, .family = "nf"}}};
  for (const float s : awq_scales(other, x.magnitudes, x.moments, Metadata::q8)) EXPECT_EQ(s, 1);
  expect_error(ErrorCode::usage, "95 magnitudes",
               [&] { awq_scales(one, std::span(x.magnitudes).first(95), x.moments, Metadata::q8); });
}

}  // namespace
}  // namespace mxq
