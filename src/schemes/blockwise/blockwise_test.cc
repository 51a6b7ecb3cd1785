// NF4 and FP4 against what bitsandbytes 0.50.2 gives (tests/integration/bitsandbytes_peer.py compares whole matrices).
#include "schemes/blockwise/blockwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/parallel.h"
#include "expect_error.h"
#include "schemes/blockwise/double_quantization.h"
#include "schemes/test_parts.h"

namespace mxq {
namespace {

/// 301 weights: four blocks of 64, and a short one with an odd number of weights.
std::vector<float> ramp() {
  std::vector<float> w(301);
  for (int i = 0; i < 301; ++i) w[i] = static_cast<float>((i * 37 % 101 - 50) / 64.0 * (1 + i / 64));
  return w;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    for (const int digit : {std::to_integer<int>(b) >> 4, std::to_integer<int>(b) & 15}) {
      text += "0123456789abcdef"[digit];
    }
  }
  return text;
}

float float_of(std::span<const std::byte> bytes, size_t index) {
  float value;
  std::memcpy(&value, bytes.data() + 4 * index, 4);
  return value;
}

Scheme nf4(int group) {
  return {.bits = 4, .group = group, .family = "nf"};
}
Scheme fp4(int group) {
  return {.bits = 4, .group = group, .family = "fp"};
}

const QuantizeOptions kNested{Fit::rtn, 1, Metadata::q8};
const QuantizeOptions kPlain{Fit::rtn, 1, Metadata::f32};

TEST(Blockwise, EqualsBitsandbytes) {
  const auto w = ramp();
  const std::string expected[] = {
      "04c16e29f3b05d17e29f3c05d18e2af4c16e18e3b05d17e29f3b05d18e2af4c16d18e3b04c17e29f3b05d17e2af4c06d18e2a04c16e29f3b"
      "05d1"
      "7e29f3c05d18e2af4c16e18e3b05d17e29f3b05d18e2af4c16d18e3b04c17e29f3b05d17e2af4c06d18e2a04c16e29f3b05d17e29f3c05d1"
      "8e2a"
      "f4c16e18e3b05d17e29f3b05d18e2af4c06e18e3b04d17e29f3b05d17e2af4c06d18e7",
      "bf5a92a63c4be5a02d63c4be2a12d73f5a92a63d4bf5a92d63c4be5a12d73c5be2a63d4bf5a92d63c4be5a12d73c5be2a12d7bf5a92a63c4"
      "be5a"
      "02d63c4be2a12d73f5a92a63d4bf5a92d63c4be5a12d73c5be2a63d4bf5a92d63c4be5a12d73c5be2a12d7bf5a92a63c4be5a02d63c4be2a"
      "12d7"
      "3f5a92a63d4bf5a92d63c4be2a12d73c5be2a63d4bf5a92a63c4be5a12d73c5be2a130"};
  for (int i = 0; i < 2; ++i) {
    const Scheme scheme = i == 0 ? nf4(64) : fp4(64);
    SCOPED_TRACE(scheme.name());
    const QuantizedMatrix q = quantize_matrix({w.data(), 7, 43}, scheme, kNested);
    EXPECT_EQ(hex(q.part("codes").first(151)), expected[i]);
    EXPECT_EQ(hex(q.part("absmax")), "00239edcfc");
    EXPECT_EQ(float_of(q.part("offset"), 0), 0x1.2ap+1f);
    EXPECT_EQ(float_of(q.part("nested_absmax"), 0), 0x1.8cp+0f);
    const QuantizedMatrix plain = quantize_matrix({w.data(), 7, 43}, scheme, kPlain);
    EXPECT_EQ(hex(plain.part("codes").first(151)), expected[i]);
    const float absmax[] = {0x1.9p-1f, 0x1.9p+0f, 0x1.2cp+1f, 0x1.9p+1f, 0x1.eap+1f};
    for (size_t b = 0; b < 5; ++b) EXPECT_EQ(float_of(plain.part("absmax"), b), absmax[b]);
  }
}

TEST(Blockwise, DynamicMapIsThePackages) {
  const auto map = blockwise::dynamic_map();
  const std::pair<int, float> expected[] = {
      {0, -0x1.fc6666p-1f},   {1, -0x1.f53334p-1f},  {18, -0x1.7accccp-1f}, {127, 0.0f},
      {128, 0x1.27476ep-21f}, {200, 0x1.de6666p-3f}, {254, 0x1.fc6666p-1f}, {255, 1.0f}};
  for (const auto& [i, value] : expected) EXPECT_EQ(map[i], value) << i;
  EXPECT_TRUE(std::is_sorted(map.begin(), map.end()));
}

/// Each weight takes the nearest of the 16 products, whatever the group, the row and the metadata.
TEST(Blockwise, WeightsTakeTheNearestValue) {
  constexpr unsigned kSeed = 3;
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal(0, 0.02f);
  // NF4's values are quantiles: the middles between values are in the table's order.
  const double values[] = {-1.0,      -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
                           0.0795803, 0.1609302,  0.2461123,  0.3379152,  0.4407098,  0.5626170,  0.7229568,  1.0};
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{5, 96}, {3, 77}, {1, 1}, {64, 1}, {2, 1000}}) {
    std::vector<float> w(static_cast<size_t>(rows * cols)), back(w.size());
    for (float& x : w) x = normal(random);
    for (const int group : {32, 64, 128, 256}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << " g" << group << " seed " << kSeed);
      const QuantizedMatrix q = quantize_matrix({w.data(), rows, cols}, nf4(group), kPlain);
      EXPECT_EQ(all_bytes(q), storage_bytes(nf4(group), kPlain, rows, cols));
      dequantize_matrix(q.view(), back.data());
      for (size_t i = 0; i < w.size(); ++i) {
        const size_t first = i / group * group, end = std::min(w.size(), first + group);
        double absmax = 0;
        for (size_t j = first; j < end; ++j) absmax = std::max(absmax, std::fabs(double{w[j]}));
        double nearest = 1e9;
        for (const double v : values) nearest = std::min(nearest, std::fabs(w[i] - v * absmax));
        ASSERT_NEAR(std::fabs(w[i] - back[i]), nearest, 1e-6 * absmax) << i;
      }
      // Rows apart are those of the whole.
      std::vector<float> row(static_cast<size_t>(cols));
      for (int64_t r = 0; r < rows; ++r) {
        dequantize_rows(q.view(), r, 1, row.data());
        ASSERT_TRUE(std::equal(row.begin(), row.end(), back.begin() + r * cols)) << r;
      }
    }
  }
}

TEST(Blockwise, AdversarialBlocks) {
  std::vector<float> w(8 * 64, 0.0f), back(w.size());
  for (int i = 0; i < 64; ++i) {
    w[64 + i] = 1e-42f;                   // denormal
    w[128 + i] = i == 5 ? 3e38f : 1e-3f;  // outlier
    w[192 + i] = 0.25f;                   // constant
    w[256 + i] = i % 2 != 0 ? -1e-30f : 1e30f;
  }
  for (const Scheme& scheme : {nf4(64), fp4(64)}) {
    for (const QuantizeOptions& options : {kNested, kPlain}) {
      const QuantizedMatrix q = quantize_matrix({w.data(), 8, 64}, scheme, options);
      dequantize_matrix(q.view(), back.data());
      for (const float x : back) ASSERT_TRUE(std::isfinite(x)) << scheme.name();
    }
    dequantize_matrix(quantize_matrix({w.data(), 8, 64}, scheme, kPlain).view(), back.data());
    EXPECT_EQ(back[133], 3e38f);
    EXPECT_EQ(back[200], 0.25f);
    EXPECT_EQ(back[0], 0.0f);
  }
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 5}, {5, 0}}) {
    EXPECT_EQ(quantize_matrix({w.data(), rows, cols}, nf4(64), kPlain).part("codes").size(), 0u);
  }
}

TEST(Blockwise, ThreadsMakeNoDifference) {
  constexpr unsigned kSeed = 4;
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  std::vector<float> w(300 * 700);
  for (float& x : w) x = normal(random);
  set_threads(1);
  const auto one = quantize_matrix({w.data(), 300, 700}, nf4(64), kNested);
  set_threads(5);
  EXPECT_EQ(quantize_matrix({w.data(), 300, 700}, nf4(64), kNested).parts, one.parts);
  set_threads(0);
}

TEST(Blockwise, ColumnScalesAndRotationAreUndone) {
  constexpr unsigned kSeed = 5;
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  std::vector<float> w(32 * 128), back(w.size());
  for (size_t i = 0; i < w.size(); ++i) w[i] = normal(random) * (i % 128 == 7 ? 30.0f : 1.0f);
  double error[3];
  for (const auto normalize : {Normalize::none, Normalize::columns, Normalize::rotation}) {
    QuantizeOptions options = kPlain;
    options.normalize = normalize;
    const auto measured = measure_matrix({w.data(), 32, 128}, std::vector{nf4(64)}, options);
    dequantize_matrix(quantize_matrix({w.data(), 32, 128}, nf4(64), options).view(), back.data());
    double sum = 0;
    for (size_t i = 0; i < w.size(); ++i) sum += std::pow(double{w[i]} - back[i], 2);
    EXPECT_NEAR(measured[0], std::sqrt(sum), 1e-9);
    error[static_cast<int>(normalize)] = std::sqrt(sum);
  }
  EXPECT_LT(error[static_cast<int>(Normalize::columns)], 0.8 * error[static_cast<int>(Normalize::none)]);
}

TEST(Blockwise, Refusals) {
  const std::vector<float> w(128, 1.0f);
  const MatrixView m{w.data(), 2, 64};
  expect_error(ErrorCode::unsupported, "nf4 on axis 0", [&] { quantize_matrix(m, nf4(64), {Fit::rtn, 0}); });
  expect_error(ErrorCode::unsupported, "nf4 with metadata f16; expected q8 (double quantization) or f32", [&] {
    quantize_matrix(m, nf4(64), {Fit::rtn, 1, Metadata::f16});
  });
  expect_error(ErrorCode::unsupported, "blocks of 48", [&] { quantize_matrix(m, nf4(48), kPlain); });
  EXPECT_EQ(parse_scheme("nf4g64"), nf4(64));
  EXPECT_EQ(parse_scheme("fp4g128"), fp4(128));
  expect_error(ErrorCode::usage, "nf4g32, nf4g64", [] { parse_scheme("nf3g64"); });
}

}  // namespace
}  // namespace mxq
