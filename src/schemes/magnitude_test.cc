#include "schemes/magnitude.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "mxq/error.h"
#include "mxq/quantized_matrix.h"

namespace mxq {
namespace {

constexpr int64_t kRows = 16, kCols = 128;

/// ||W - Q(W)|| / ||W|| of a matrix of normal weights times `magnitude`.
double relative_error(const std::vector<float>& weights, const Scheme& scheme, const QuantizeOptions& options) {
  const QuantizedMatrix quantized = quantize_matrix({weights.data(), kRows, kCols}, scheme, options);
  std::vector<float> back(weights.size());
  dequantize_matrix(quantized.view(), back.data());
  double error = 0, norm = 0;
  for (size_t i = 0; i < back.size(); ++i) {
    error += std::pow(static_cast<double>(weights[i]) - static_cast<double>(back[i]), 2);
    norm += std::pow(static_cast<double>(weights[i]), 2);
  }
  return std::sqrt(error / norm);
}

TEST(Magnitude, IsHeldOrNamedByEveryFamilyAndMetadata) {
  const unsigned seed = 28;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> weights(kRows * kCols);
  for (float& w : weights) w = normal(random);
  for (const char* name : {"b2g64", "b4g64", "b8g32", "gauss4g64", "km3g64", "nf4g64", "fp4g64"}) {
    const Scheme scheme = parse_scheme(name);
    for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
      if ((scheme.family == "nf" || scheme.family == "fp") && metadata == Metadata::f16) {
        continue;
      }
      for (const Normalize normalize : {Normalize::none, Normalize::columns, Normalize::rotation}) {
        QuantizeOptions options;
        options.metadata = metadata;
        options.normalize = normalize;
        const double usual = relative_error(weights, scheme, options);
        int held = 0;
        for (int exponent = -30; exponent <= 30; exponent += 5) {
          std::vector<float> scaled = weights;
          for (float& w : scaled) w *= std::pow(10.0f, static_cast<float>(exponent));
          try {
            check_magnitude({scaled.data(), kRows, kCols}, {&scheme, 1}, options, "quantize 'w'");
          } catch (const Error& e) {
            EXPECT_EQ(e.code(), ErrorCode::unsupported);
            EXPECT_THAT(e.what(), testing::HasSubstr("quantize 'w'"));
            EXPECT_THAT(e.what(), testing::HasSubstr(name));
            EXPECT_NE(exponent, 0);
            continue;
          }
          ++held;
          EXPECT_LE(relative_error(scaled, scheme, options), 1.15 * usual + 2e-3)
              << name << " " << metadata_name(metadata) << " 1e" << exponent;
        }
        EXPECT_GE(held, 1) << name << " " << metadata_name(metadata);
        // Metadata f32 is the way out that messages offer.
        if (metadata == Metadata::f32) {
          EXPECT_GE(held, 3) << name;
        }
      }
    }
  }
}

TEST(Magnitude, ZerosAndUsualMatricesPass) {
  const Scheme scheme = parse_scheme("b4g64");
  std::vector<float> weights(64, 0.0f);
  EXPECT_NO_THROW(check_magnitude({weights.data(), 1, 64}, {&scheme, 1}, {}, "x"));
  EXPECT_NO_THROW(check_magnitude({nullptr, 0, 64}, {&scheme, 1}, {}, "x"));
  weights[3] = 1;
  EXPECT_NO_THROW(check_magnitude({weights.data(), 1, 64}, {&scheme, 1}, {}, "x"));
}

}  // namespace
}  // namespace mxq
