// Scales and biases in 16 bits: what the stored numbers mean, and what their rounding costs.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/half.h"
#include "expect_error.h"
#include "mxq/error.h"
#include "mxq/quantized_matrix.h"

namespace mxq {
namespace {

struct Matrix {
  std::vector<float> data;
  int64_t rows, cols;
  MatrixView view() const { return {data.data(), rows, cols}; }
};

Matrix gaussian(int64_t rows, int64_t cols, unsigned seed, float mean = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(mean, 0.02f);
  Matrix m{std::vector<float>(static_cast<size_t>(rows * cols)), rows, cols};
  for (float& w : m.data) w = normal(random);
  return m;
}

std::vector<float> back(const QuantizedMatrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.layout.rows * matrix.layout.cols));
  dequantize_matrix(matrix.view(), values.data());
  return values;
}

double error_of(const Matrix& m, const Scheme& scheme, const QuantizeOptions& options) {
  const auto values = back(quantize_matrix(m.view(), scheme, options));
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += std::pow(double{m.data[i]} - double{values[i]}, 2);
  return std::sqrt(sum);
}

float half(std::span<const std::byte> bytes, int64_t i, Metadata metadata) {
  uint16_t bits = 0;
  std::memcpy(&bits, bytes.data() + 2 * i, 2);
  return metadata == Metadata::bf16_bias ? f32_from_bf16(bits) : f32_from_f16(bits);
}

constexpr Metadata kBoth[] = {Metadata::f16_bias, Metadata::bf16_bias};
constexpr Fit kFits[] = {Fit::rtn, Fit::hqq, Fit::mse};

/// The definition, element by element: no code of the library but the two conversions.
TEST(Biases, AreWhatACodeTimesTheScaleIsAddedTo) {
  const Matrix m = gaussian(5, 150, 3);
  for (const Metadata metadata : kBoth) {
    for (const Fit fit : kFits) {
      for (const int bits : {2, 3, 4, 5, 6, 8}) {
        const QuantizedMatrix q = quantize_matrix(m.view(), {bits, 32}, {fit, 1, metadata});
        const auto values = back(q);
        const int64_t row_bytes = (150 * bits + 7) / 8, per_row = 5;
        for (int64_t r = 0; r < m.rows; ++r) {
          for (int64_t k = 0; k < m.cols; ++k) {
            int code = 0;
            for (int b = 0; b < bits; ++b) {
              const int64_t bit = 8 * r * row_bytes + k * bits + b;
              code |= ((std::to_integer<int>(q.part("codes")[bit / 8]) >> (bit % 8)) & 1) << b;
            }
            const int64_t group = r * per_row + k / 32;
            const volatile float product = static_cast<float>(code) * half(q.part("scales"), group, metadata);
            const volatile float value = product + half(q.part("biases"), group, metadata);
            ASSERT_EQ(values[static_cast<size_t>(r * m.cols + k)], value) << bits << " bits, " << r << ", " << k;
          }
        }
      }
    }
  }
}

TEST(Biases, MeasureEqualsQuantizingAndSubtracting) {
  const std::vector<Scheme> schemes{{2, 32}, {3, 64}, {4, 128}, {6, 32}, {8, 64}};
  for (const auto& [rows, cols] : {std::pair{8, 256}, std::pair{7, 200}, std::pair{1, 1}, std::pair{300, 70}}) {
    const Matrix m = gaussian(rows, cols, 5);
    for (const Metadata metadata : kBoth) {
      for (const Fit fit : kFits) {
        for (const Normalize normalize : {Normalize::none, Normalize::columns, Normalize::rotation}) {
          if (fit == Fit::hqq && normalize != Normalize::none) continue;
          const QuantizeOptions options{fit, 1, metadata, normalize};
          const auto measured = measure_matrix(m.view(), schemes, options);
          for (size_t i = 0; i < schemes.size(); ++i) {
            const double error = error_of(m, schemes[i], options);
            EXPECT_NEAR(measured[i], error, 1e-9 * error + 1e-300)
                << rows << " x " << cols << " " << metadata_name(metadata) << " " << fit_name(fit);
          }
        }
      }
    }
  }
}

/// Against numbers of 32 bits, which round nothing.
TEST(Biases, CostLittle) {
  const Matrix m = gaussian(64, 1024, 7);
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    const Scheme scheme{bits, 64};
    const double exact = error_of(m, scheme, {Fit::mse, 1, Metadata::f32});
    EXPECT_LT(error_of(m, scheme, {Fit::mse, 1, Metadata::f16_bias}), 1.003 * exact) << bits;
    EXPECT_LT(error_of(m, scheme, {Fit::mse, 1, Metadata::bf16_bias}), (bits == 8 ? 1.08 : 1.03) * exact) << bits;
  }
}

/// Groups far from zero: the bias is a coarse number there, and the scale spans what it leaves.
TEST(Biases, ReachGroupsThatLieFarFromZero) {
  for (const Metadata metadata : kBoth) {
    for (const float mean : {1.0f, -3.0f, 100.0f}) {
      const Matrix m = gaussian(4, 256, 9, mean);
      // A number of the format next to the weights, and from there a span in 255 codes.
      const double unit = std::fabs(mean) * (metadata == Metadata::bf16_bias ? 0x1p-8 : 0x1p-11);
      const double each = error_of(m, {8, 64}, {Fit::mse, 1, metadata}) / std::sqrt(4 * 256);
      EXPECT_LT(each, (0.15 + unit) / 255) << metadata_name(metadata) << " " << mean;
    }
  }
}

TEST(Biases, HoldConstantGroups) {
  for (const Metadata metadata : kBoth) {
    for (const float value : {0.0f, 0.37f, -0.37f, 1e-3f, -6e4f}) {
      for (const Fit fit : kFits) {
        const Matrix m{std::vector<float>(128, value), 2, 64};
        const auto values = back(quantize_matrix(m.view(), {4, 32}, {fit, 1, metadata}));
        const float allowed = std::fabs(value) * (fit == Fit::mse ? 0x1p-11f : 0x1p-8f);
        for (const float found : values) EXPECT_NEAR(found, value, allowed) << metadata_name(metadata);
      }
    }
  }
}

TEST(Biases, AreOfAxis1AndOfTheAffineFamily) {
  const Matrix m = gaussian(4, 64, 1);
  expect_error(ErrorCode::unsupported, "axis 0 with metadata f16-bias", [&] {
    quantize_matrix(m.view(), {4, 32}, {Fit::mse, 0, Metadata::f16_bias});
  });
  for (const char* name : {"gauss3g32", "nf4g64"}) {
    expect_error(ErrorCode::unsupported, "with metadata bf16-bias", [&] {
      quantize_matrix(m.view(), parse_scheme(name), {Fit::mse, 1, Metadata::bf16_bias});
    });
  }
}

}  // namespace
}  // namespace mxq
