// quantize, dequantize and measure on shapes and groups of every kind.
#include "mxq/quantized_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/parallel.h"
#include "mxq/error.h"
#include "schemes/test_parts.h"

namespace mxq {
namespace {

using testing::HasSubstr;

struct Matrix {
  std::vector<float> data;
  int64_t rows, cols;
  MatrixView view() const { return {data.data(), rows, cols}; }
};

Matrix gaussian(int64_t rows, int64_t cols, unsigned seed, float sigma = 0.02f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, sigma);
  Matrix m{std::vector<float>(static_cast<size_t>(rows * cols)), rows, cols};
  for (float& w : m.data) w = normal(random);
  return m;
}

double error_of(const Matrix& m, const Scheme& scheme, const QuantizeOptions& options) {
  const QuantizedMatrix quantized = quantize_matrix(m.view(), scheme, options);
  std::vector<float> back(m.data.size());
  dequantize_matrix(quantized.view(), back.data());
  double sum = 0;
  for (size_t i = 0; i < back.size(); ++i) sum += std::pow(double{m.data[i]} - double{back[i]}, 2);
  return std::sqrt(sum);
}

std::vector<QuantizeOptions> all_options() {
  std::vector<QuantizeOptions> all;
  for (const Fit fit : {Fit::rtn, Fit::hqq, Fit::mse}) {
    for (const int axis : {0, 1}) {
      for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) all.push_back({fit, axis, metadata});
    }
  }
  return all;
}

std::string describe(const QuantizeOptions& options) {
  return std::string(fit_name(options.fit)) + " axis " + std::to_string(options.axis) + " " +
         std::string(metadata_name(options.metadata));
}

TEST(Quantize, MeasureEqualsQuantizingAndSubtracting) {
  const std::vector<Scheme> schemes = {{2, 32}, {3, 64}, {4, 64}, {8, 128}, {3, 32}, {5, 16}, {6, 256}};
  // Whole groups; short groups at row ends; shorter than a group; more than one block; lengths that differ on axis 0.
  const std::pair<int64_t, int64_t> shapes[] = {{8, 256}, {7, 200}, {3, 5}, {1, 1}, {1, 77}, {77, 1}, {300, 70}};
  for (const auto& [rows, cols] : shapes) {
    const Matrix m = gaussian(rows, cols, 5);
    for (const QuantizeOptions& options : all_options()) {
      const std::vector<double> measured = measure_matrix(m.view(), schemes, options);
      for (size_t i = 0; i < schemes.size(); ++i) {
        SCOPED_TRACE(testing::Message() << rows << " x " << cols << " " << describe(options) << " " << schemes[i].name()
                                        << " seed 5");
        const double error = error_of(m, schemes[i], options);
        EXPECT_NEAR(measured[i], error, 1e-9 * error + 1e-300);
        const QuantizedMatrix quantized = quantize_matrix(m.view(), schemes[i], options);
        EXPECT_EQ(all_bytes(quantized), storage_bytes(schemes[i], options, rows, cols));
      }
    }
  }
}

TEST(Quantize, RowsAreThoseOfTheWholeMatrix) {
  const Matrix m = gaussian(13, 150, 8);
  for (const int axis : {0, 1}) {
    for (const Metadata metadata : {Metadata::q8, Metadata::f16}) {
      const QuantizedMatrix q = quantize_matrix(m.view(), {3, 32}, {Fit::mse, axis, metadata});
      std::vector<float> whole(m.data.size());
      dequantize_matrix(q.view(), whole.data());
      for (const auto& [first, rows] : {std::pair{0, 1}, std::pair{5, 3}, std::pair{12, 1}, std::pair{0, 13}}) {
        std::vector<float> some(static_cast<size_t>(rows * 150));
        dequantize_rows(q.view(), first, rows, some.data());
        EXPECT_TRUE(std::equal(some.begin(), some.end(), whole.begin() + first * 150)) << axis << " " << first;
      }
      dequantize_rows(q.view(), 13, 0, nullptr);
      EXPECT_THROW(dequantize_rows(q.view(), 13, 1, whole.data()), Error);
      EXPECT_THROW(dequantize_rows(q.view(), -1, 1, whole.data()), Error);
    }
  }
}

/// The definition of the stored form, element by element, with no code of the library.
TEST(Quantize, StoredBytesMeanWhatTheHeaderSays) {
  const Matrix m = gaussian(13, 150, 6);
  for (const int axis : {0, 1}) {
    for (const int bits : {2, 3, 4, 8}) {
      const Scheme scheme{bits, 32};
      const QuantizedMatrix q = quantize_matrix(m.view(), scheme, {Fit::mse, axis, Metadata::q8});
      std::vector<float> back(m.data.size());
      dequantize_matrix(q.view(), back.data());
      const auto half = [](std::span<const std::byte> bytes, int64_t i) {
        const unsigned h = std::to_integer<unsigned>(bytes[2 * i]) | std::to_integer<unsigned>(bytes[2 * i + 1]) << 8;
        const int exponent = (h >> 10) & 31;
        return exponent == 0 ? std::ldexp(double(h & 1023), -24) : std::ldexp(1024.0 + (h & 1023), exponent - 25);
      };
      const int64_t per_row = 5, groups = axis == 1 ? 13 * per_row : (13 * 150 + 31) / 32;
      for (int64_t r = 0; r < 13; ++r) {
        for (int64_t k = 0; k < 150; ++k) {
          const int64_t flat = r * 150 + k;
          const int64_t group = axis == 1 ? r * per_row + k / 32 : flat % groups;
          const int64_t row_bits = (150 * bits + 7) / 8 * 8;
          const int64_t code_bit = axis == 1 ? r * row_bits + k * bits : flat * bits;
          int code = 0;
          for (int b = 0; b < bits; ++b) {
            const int64_t bit = code_bit + b;
            code |= ((std::to_integer<int>(q.part("codes")[bit / 8]) >> (bit % 8)) & 1) << b;
          }
          const double s = half(q.part("scale_steps"), group / 128) * std::to_integer<int>(q.part("scales")[group]);
          const double z =
              ((1 << bits) - 1) / 2.0 - half(q.part("zero_steps"), group / 128) *
                                            static_cast<int8_t>(std::to_integer<int>(q.part("zeros")[group]));
          ASSERT_NEAR(back[flat], (code - z) * s, 1e-6) << "row " << r << " column " << k;
        }
      }
    }
  }
}

TEST(Quantize, ThreadsMakeNoDifference) {
  const Matrix m = gaussian(150, 333, 7);
  for (const QuantizeOptions& options : all_options()) {
    SCOPED_TRACE(describe(options));
    set_threads(1);
    const QuantizedMatrix one = quantize_matrix(m.view(), {3, 32}, options);
    const auto measured_one = measure_matrix(m.view(), paper_schemes(), options);
    set_threads(5);
    const QuantizedMatrix five = quantize_matrix(m.view(), {3, 32}, options);
    const auto measured_five = measure_matrix(m.view(), paper_schemes(), options);
    set_threads(0);
    EXPECT_EQ(one.parts, five.parts);
    EXPECT_EQ(measured_one, measured_five);
  }
}

TEST(Quantize, EmptyMatricesAreEmpty) {
  for (const QuantizeOptions& options : all_options()) {
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 64}, {64, 0}, {0, 0}}) {
      const QuantizedMatrix q = quantize_matrix({nullptr, rows, cols}, {4, 64}, options);
      EXPECT_EQ(q.layout.total_bytes(), 0);
      EXPECT_TRUE(q.part("codes").empty());
      EXPECT_NO_THROW(dequantize_matrix(q.view(), nullptr));
      EXPECT_EQ(measure_matrix({nullptr, rows, cols}, paper_schemes(), options), std::vector<double>(12, 0.0));
    }
  }
}

/// Of a Gaussian, the optimal uniform quantizers that adapt to nothing have these distortions (Max 1960); ours fits
/// every group, so it must do better, but no code of so many bits can go below 2^(-2 bits) (Shannon).
TEST(Quantize, GaussianErrorsLieBetweenTheBounds) {
  const Matrix m = gaussian(256, 1024, 8, 1.0f);
  const std::pair<int, double> max_1960[] = {{2, 0.1188}, {3, 0.03744}, {4, 0.01154}};
  for (const auto& [bits, uniform] : max_1960) {
    for (const int group : {32, 64, 128}) {
      const Scheme scheme{bits, group};
      SCOPED_TRACE(scheme.name());
      const double distortion = std::pow(error_of(m, scheme, {Fit::mse, 1, Metadata::q8}), 2) / (256 * 1024);
      EXPECT_LT(distortion, uniform);
      EXPECT_GT(distortion, std::pow(2.0, -2 * nominal_bits(scheme)));
    }
  }
}

struct Adversarial {
  const char* name;
  float (*weight)(int row, int col, float normal);
};

/// Groups that a grid shared by 128 of them could ruin.
const Adversarial kAdversarial[] = {
    {"all zero", [](int, int, float) { return 0.0f; }},
    {"constant", [](int, int, float) { return 0.37f; }},
    {"constants of all sizes", [](int r, int, float) { return std::ldexp(r % 2 ? 1.0f : -1.0f, r % 9 - 4); }},
    {"all negative", [](int, int, float x) { return -0.1f - 0.02f * std::fabs(x); }},
    {"far from zero", [](int, int, float x) { return 3.0f + 0.001f * x; }},
    {"one row far from zero", [](int r, int, float x) { return r == 3 ? 5.0f + 0.01f * x : 0.02f * x; }},
    {"one outlier", [](int r, int c, float x) { return r == 3 && c == 70 ? 8.0f : 0.02f * x; }},
    {"an outlier a row", [](int r, int c, float x) { return c == 5 * r ? -4.0f : 0.02f * x; }},
    {"one row a thousand times larger", [](int r, int, float x) { return r == 3 ? 20.0f * x : 0.02f * x; }},
    {"rows of ranges 1e3 apart", [](int r, int, float x) { return std::pow(10.0f, float(r % 4)) * 1e-3f * x; }},
    {"zero and Gaussian rows", [](int r, int, float x) { return r % 2 ? 0.0f : 0.02f * x; }},
    {"two values", [](int, int c, float) { return c % 2 ? 1.0f : -1.0f; }},
    {"denormal", [](int, int, float x) { return 1e-40f * x; }},
    {"tiny", [](int, int, float x) { return 1e-8f * x; }},
    {"huge", [](int, int, float x) { return 1e30f * x; }},
    {"largest floats", [](int, int c, float) { return c % 2 ? 3e38f : -3e38f; }},
};

TEST(Quantize, NoGroupIsRuined) {
  for (const Adversarial& kind : kAdversarial) {
    Matrix m = gaussian(16, 256, 13, 1.0f);
    double norm = 0;
    for (int i = 0; i < 16 * 256; ++i) {
      m.data[i] = kind.weight(i / 256, i % 256, m.data[i]);
      norm += std::pow(double{m.data[i]}, 2);
    }
    norm = std::sqrt(norm);
    for (const Scheme& scheme : {Scheme{2, 32}, {3, 64}, {4, 128}, {4, 32}, {8, 64}}) {
      for (const int axis : {0, 1}) {
        const double rtn = error_of(m, scheme, {Fit::rtn, axis, Metadata::f32});
        for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
          for (const Fit fit : {Fit::mse, Fit::rtn, Fit::hqq}) {
            const QuantizeOptions options{fit, axis, metadata};
            SCOPED_TRACE(testing::Message() << kind.name << " " << scheme.name() << " " << describe(options));
            const double error = error_of(m, scheme, options);
            EXPECT_TRUE(std::isfinite(error));
            EXPECT_NEAR(measure_matrix(m.view(), {&scheme, 1}, options)[0], error, 1e-9 * error);
            if (fit != Fit::mse) continue;
            // What the format's own precision takes: fp16 steps end at 6e-8, fp16 at 65504 (times 255 for q8).
            const bool out_of_range = metadata != Metadata::f32 && norm > 1e9;
            const double precision = metadata == Metadata::f32 ? 1e-6 : 4e-3;
            if (!out_of_range) {
              EXPECT_LE(error, 1.15 * rtn + precision * norm + 1e-6) << "rtn with fp32 metadata " << rtn;
            }
          }
        }
      }
    }
  }
}

TEST(Quantize, NonFiniteWeightsAreNamed) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    Matrix m = gaussian(300, 500, 9);
    m.data[217 * 500 + 31] = bad;
    m.data[217 * 500 + 32] = bad;
    m.data[299 * 500] = bad;
    for (const bool measure : {false, true}) {
      try {
        if (measure) {
          measure_matrix(m.view(), paper_schemes(), {});
        } else {
          quantize_matrix(m.view(), {4, 64}, {});
        }
        FAIL();
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::not_finite);
        EXPECT_THAT(error.what(), HasSubstr("row 217, column 31"));
      }
    }
  }
}

TEST(Quantize, UnsupportedArgumentsAreRefused) {
  const Matrix m = gaussian(2, 64, 10);
  for (const Scheme scheme :
       {Scheme{1, 64}, Scheme{9, 64}, Scheme{4, 0}, Scheme{4, 48}, Scheme{4, 512}, Scheme{4, -64}}) {
    EXPECT_THROW(quantize_matrix(m.view(), scheme, {}), Error) << scheme.name();
    EXPECT_THROW(measure_matrix(m.view(), {&scheme, 1}, {}), Error) << scheme.name();
  }
  EXPECT_THROW(quantize_matrix(m.view(), {4, 64}, {Fit::mse, 2, Metadata::q8}), Error);
  EXPECT_THROW(quantize_matrix({m.data.data(), -1, 64}, {4, 64}, {}), Error);
  EXPECT_THROW(quantize_matrix({m.data.data(), int64_t{1} << 40, int64_t{1} << 40}, {4, 64}, {}), Error);
}

TEST(Quantize, TornPartsAreRefused) {
  const Matrix m = gaussian(4, 128, 11);
  const QuantizedMatrix good = quantize_matrix(m.view(), {4, 64}, {});
  std::vector<float> out(m.data.size());
  EXPECT_NO_THROW(dequantize_matrix(good.view(), out.data()));
  ASSERT_EQ(good.parts.size(), 5u);
  for (size_t i = 0; i < good.parts.size(); ++i) {
    QuantizedMatrix torn = good;
    torn.parts[i].pop_back();
    EXPECT_THROW(dequantize_matrix(torn.view(), out.data()), Error);
    torn = good;
    torn.parts[i].push_back(std::byte{0});
    EXPECT_THROW(dequantize_matrix(torn.view(), out.data()), Error);
  }
  QuantizedMatrix scaled = good;
  scaled.layout.has_column_scales = true;
  EXPECT_THROW(dequantize_matrix(scaled.view(), out.data()), Error);
}

TEST(Quantize, ColumnScalesMultiplyBack) {
  const Matrix m = gaussian(3, 96, 12);
  for (const int axis : {0, 1}) {
    QuantizedMatrix q = quantize_matrix(m.view(), {4, 32}, {Fit::mse, axis, Metadata::q8});
    std::vector<float> plain(m.data.size()), scaled(m.data.size());
    dequantize_matrix(q.view(), plain.data());
    q.layout.has_column_scales = true;
    auto& column_scales = q.parts.emplace_back();
    for (int k = 0; k < 96; ++k) {  // 1.0, 2.0, 0.5 in fp16
      const uint16_t bits[] = {0x3c00, 0x4000, 0x3800};
      column_scales.push_back(std::byte(bits[k % 3] & 0xff));
      column_scales.push_back(std::byte(bits[k % 3] >> 8));
    }
    dequantize_matrix(q.view(), scaled.data());
    const float factor[] = {1.0f, 2.0f, 0.5f};
    for (size_t i = 0; i < plain.size(); ++i) ASSERT_EQ(scaled[i], plain[i] * factor[i % 96 % 3]);
  }
}

}  // namespace
}  // namespace mxq
