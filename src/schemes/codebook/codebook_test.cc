// Gaussian and k-means schemes.
#include "schemes/codebook/codebook.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/bitpack.h"
#include "base/half.h"
#include "base/parallel.h"
#include "expect_error.h"
#include "random_floats.h"
#include "schemes/codebook/lloyd_max.h"
#include "schemes/test_parts.h"

namespace mxq {
namespace {

constexpr unsigned kSeed = 31;

std::vector<float> gaussian(int64_t size, float sigma = 0.02f) {
  std::mt19937 random(kSeed);
  return normal_floats(random, size, sigma);
}

Scheme gauss(int bits, int group) {
  return {bits, group, "gaussian"};
}
Scheme km(int bits, int group) {
  return {bits, group, "kmeans"};
}

double squared(const std::vector<float>& w, const std::vector<float>& back) {
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) sum += std::pow(double{w[i]} - back[i], 2);
  return sum;
}

TEST(LloydMax, LevelsAreMaxs) {
  // Max 1960, table I, and the distortions there.
  const std::vector<std::vector<double>> upper = {{0.7980},
                                                  {0.4528, 1.510},
                                                  {0.2451, 0.7560, 1.344, 2.152},
                                                  {0.1284, 0.3881, 0.6568, 0.9424, 1.256, 1.618, 2.069, 2.733}};
  for (int bits = 1; bits <= 4; ++bits) {
    const auto& levels = codebook::lloyd_max_levels(bits);
    const auto& expected = upper[static_cast<size_t>(bits - 1)];
    ASSERT_EQ(levels.size(), 2 * expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(levels[expected.size() + i], expected[i], 6e-4 * (1 + expected[i])) << bits << " " << i;
      EXPECT_EQ(levels[expected.size() - 1 - i], -levels[expected.size() + i]);
    }
    // Each is the mean of its cell, by integration.
    for (size_t i = expected.size(); i < levels.size(); ++i) {
      const double low = i == expected.size() ? 0 : (levels[i - 1] + double{levels[i]}) / 2;
      const double high = i + 1 < levels.size() ? (levels[i] + double{levels[i + 1]}) / 2 : 12;
      double mass = 0, first = 0;
      constexpr int kSteps = 200000;
      for (int s = 0; s < kSteps; ++s) {
        const double x = low + (high - low) * (s + 0.5) / kSteps, p = std::exp(-x * x / 2);
        mass += p;
        first += p * x;
      }
      EXPECT_NEAR(levels[i], first / mass, 1e-6);
    }
  }
}

/// Of a matrix as normal as the levels, the error is nearly the table's distortion; the groups' own scales gain a
/// little.
TEST(Gaussian, LosesWhatMaxSays) {
  const auto w = gaussian(256 * 512);
  std::vector<float> back(w.size());
  double all = 0;
  for (const float x : w) all += double{x} * x;
  const double distortion[] = {0.1175, 0.03454, 0.009497};
  for (int bits = 2; bits <= 4; ++bits) {
    dequantize_matrix(quantize_matrix({w.data(), 256, 512}, gauss(bits, 128), {Fit::rtn, 1, Metadata::f32}).view(),
                      back.data());
    const double lost = squared(w, back) / all;
    EXPECT_LT(lost, distortion[bits - 2]) << bits;
    EXPECT_GT(lost, 0.75 * distortion[bits - 2]) << bits;
  }
}

/// W = level[code] * scale by definition, codes of the nearest levels, from the stored bytes.
TEST(Codebook, StoredBytesMeanWhatTheHeaderSays) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{5, 96}, {3, 77}, {1, 1}, {300, 33}}) {
    const auto w = gaussian(rows * cols);
    std::vector<float> back(w.size());
    for (const Scheme& scheme : {gauss(2, 32), gauss(3, 64), gauss(4, 128), km(2, 32), km(3, 64), km(4, 128)}) {
      for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << cols << " " << scheme.name() << " "
                                        << metadata_name(metadata) << " seed " << kSeed);
        const QuantizeOptions options{Fit::rtn, 1, metadata};
        const QuantizedMatrix q = quantize_matrix({w.data(), rows, cols}, scheme, options);
        EXPECT_EQ(all_bytes(q), storage_bytes(scheme, options, rows, cols));
        EXPECT_EQ(all_bytes(q) % 2, 0);  // column scales may follow
        dequantize_matrix(q.view(), back.data());
        const auto half = [](std::span<const std::byte> bytes, int64_t i) {
          uint16_t value;
          std::memcpy(&value, bytes.data() + 2 * i, 2);
          return double{f32_from_f16(value)};
        };
        std::vector<double> levels;
        for (int i = 0; i < 1 << scheme.bits; ++i) {
          levels.push_back(scheme.family == "kmeans" ? half(q.part("levels"), i)
                                                     : codebook::lloyd_max_levels(scheme.bits)[i]);
        }
        const int64_t per_row = (cols + scheme.group - 1) / scheme.group;
        std::vector<uint8_t> codes(static_cast<size_t>(cols));
        for (int64_t r = 0; r < rows; ++r) {
          unpack_codes(q.part("codes").subspan(static_cast<size_t>(r * q.layout.code_row_bytes())), scheme.bits, 0,
                       cols, codes.data());
          for (int64_t k = 0; k < cols; ++k) {
            const int64_t j = r * per_row + k / scheme.group;
            float f = 0;
            if (metadata == Metadata::f32) std::memcpy(&f, q.part("scales").data() + 4 * j, 4);
            const double s = metadata == Metadata::q8 ? half(q.part("scale_steps"), j / kGroupsPerStep) *
                                                            std::to_integer<int>(q.part("scales")[j])
                             : metadata == Metadata::f16 ? half(q.part("scales"), j)
                                                         : double{f};
            const double x = w[r * cols + k], got = levels[codes[k]] * s;
            ASSERT_NEAR(back[r * cols + k], got, 1e-6 * std::fabs(got));
            double nearest = 1e9;
            for (const double level : levels) nearest = std::min(nearest, std::fabs(x - level * s));
            ASSERT_LE(std::fabs(x - got), nearest + 1e-7) << r << " " << k;
          }
        }
        std::vector<float> row(static_cast<size_t>(cols));
        for (int64_t r = 0; r < rows; ++r) {
          dequantize_rows(q.view(), r, 1, row.data());
          ASSERT_TRUE(std::equal(row.begin(), row.end(), back.begin() + r * cols));
        }
      }
    }
  }
}

/// Levels of the matrix's own suit it better than the normal distribution's, where it is not normal.
TEST(Kmeans, LevelsOfItsOwnLoseLess) {
  std::mt19937 random(kSeed);
  std::exponential_distribution<float> exponential;
  std::vector<float> w(64 * 512), back(w.size());
  for (float& x : w) x = (random() % 2 != 0 ? 1.0f : -1.0f) * std::pow(exponential(random), 1.5f);
  for (int bits = 2; bits <= 4; ++bits) {
    double lost[2];
    for (const Scheme& scheme : {gauss(bits, 64), km(bits, 64)}) {
      dequantize_matrix(quantize_matrix({w.data(), 64, 512}, scheme, {Fit::rtn, 1, Metadata::f32}).view(), back.data());
      lost[scheme.family == "kmeans"] = squared(w, back);
    }
    EXPECT_LT(lost[1], 0.9 * lost[0]) << bits << " seed " << kSeed;
  }
}

TEST(Codebook, AdversarialGroups) {
  std::vector<float> w(10 * 64, 0.0f), back(w.size());
  for (int i = 0; i < 64; ++i) {
    w[64 + i] = 1e-42f;
    w[128 + i] = i == 5 ? 3e38f : 1e-3f;
    w[192 + i] = 0.25f;
    w[256 + i] = i % 2 != 0 ? -1e-30f : 1e30f;
    w[320 + i] = i == 5 ? -3e38f : 1e-3f;
    for (int r = 6; r < 10; ++r) w[r * 64 + i] = 0.01f * static_cast<float>(i - 32);
  }
  for (const Scheme& scheme : {gauss(3, 64), km(3, 64)}) {
    for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
      const QuantizeOptions options{Fit::rtn, 1, metadata};
      dequantize_matrix(quantize_matrix({w.data(), 10, 64}, scheme, options).view(), back.data());
      for (const float x : back) ASSERT_TRUE(std::isfinite(x)) << scheme.name() << " " << metadata_name(metadata);
      for (int i = 0; i < 64; ++i) EXPECT_EQ(back[i], 0) << "zeros";
      // What is told is what is lost.
      const auto measured = measure_matrix({w.data(), 10, 64}, {&scheme, 1}, options);
      EXPECT_NEAR(measured[0] / std::sqrt(squared(w, back)), 1, 1e-9);
    }
  }
  // An outlier takes steps of q8 that cost the others least, not those that only it needs.
  std::fill(w.begin(), w.begin() + 384, 0.01f);
  w[3] = 4;
  dequantize_matrix(quantize_matrix({w.data(), 10, 64}, gauss(3, 64), {Fit::rtn, 1, Metadata::q8}).view(), back.data());
  double lost = 0, all = 0;
  for (size_t i = 384; i < w.size(); ++i) {
    lost += std::pow(double{w[i]} - back[i], 2);
    all += std::pow(double{w[i]}, 2);
  }
  EXPECT_LT(lost, 0.05 * all) << "ramps, which 3 bits hold to 4 %";
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 5}, {5, 0}}) {
    EXPECT_EQ(quantize_matrix({w.data(), rows, cols}, km(3, 64), {}).part("codes").size(), 0u);
  }
}

TEST(Codebook, ThreadsMakeNoDifference) {
  const auto w = gaussian(300 * 700);
  for (const Scheme& scheme : {gauss(3, 64), km(3, 64)}) {
    set_threads(1);
    const auto one = quantize_matrix({w.data(), 300, 700}, scheme, {});
    set_threads(5);
    EXPECT_EQ(quantize_matrix({w.data(), 300, 700}, scheme, {}).parts, one.parts);
  }
  set_threads(0);
}

TEST(Codebook, Refusals) {
  const std::vector<float> w(128, 1.0f);
  const MatrixView m{w.data(), 2, 64};
  expect_error(ErrorCode::unsupported, "gaussian on axis 0", [&] { quantize_matrix(m, gauss(3, 64), {Fit::rtn, 0}); });
  expect_error(ErrorCode::unsupported, "kmeans of 5 bits in groups of 64; expected 2, 3 or 4 bits",
               [&] { quantize_matrix(m, km(5, 64), {}); });
  EXPECT_EQ(parse_scheme("gauss3g64"), gauss(3, 64));
  EXPECT_EQ(parse_scheme("km4g128"), km(4, 128));
}

}  // namespace
}  // namespace mxq
