// Column scales against the definition, and what quantizing with them must keep.
#include "schemes/normalize/column_scales.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "base/half.h"
#include "base/parallel.h"
#include "mxq/error.h"
#include "mxq/quantized_matrix.h"
#include "schemes/normalize/normalize.h"
#include "schemes/test_parts.h"

namespace mxq {
namespace {

constexpr unsigned kSeed = 21;

struct Matrix {
  std::vector<float> data;
  int64_t rows, cols;
  MatrixView view() const { return {data.data(), rows, cols}; }
  float& at(int64_t r, int64_t k) { return data[static_cast<size_t>(r * cols + k)]; }
};

/// Gaussian weights, rows and columns of spreads e^(spread * normal).
Matrix gaussian(int64_t rows, int64_t cols, double spread = 0.5) {
  std::mt19937 random(kSeed);
  std::normal_distribution<double> normal;
  std::vector<double> r(static_cast<size_t>(rows)), c(static_cast<size_t>(cols));
  for (double& x : r) x = std::exp(spread * normal(random));
  for (double& x : c) x = std::exp(spread * normal(random));
  Matrix m{std::vector<float>(static_cast<size_t>(rows * cols)), rows, cols};
  for (int64_t i = 0; i < rows * cols; ++i) {
    m.data[static_cast<size_t>(i)] = static_cast<float>(0.02 * r[i / cols] * c[i % cols] * normal(random));
  }
  return m;
}

std::vector<float> scales_of(const Matrix& m) {
  const MatrixView view = m.view();
  return column_scales({&view, 1});
}

/// The definition, plainly: the weights themselves are divided, columns first and last, rows in tiles of 64 columns, by
/// their root mean squares.
std::vector<double> by_definition(const Matrix& m, int rounds) {
  std::vector<std::vector<double>> x(static_cast<size_t>(m.rows), std::vector<double>(static_cast<size_t>(m.cols)));
  for (int64_t r = 0; r < m.rows; ++r) {
    for (int64_t k = 0; k < m.cols; ++k) x[r][k] = m.data[static_cast<size_t>(r * m.cols + k)];
  }
  std::vector<double> t(static_cast<size_t>(m.cols), 1.0);
  for (int round = 0; round < rounds; ++round) {
    for (auto& row : x) {
      for (size_t first = 0; first < row.size(); first += 64) {
        const size_t end = std::min(first + 64, row.size());
        double squares = 0;
        for (size_t k = first; k < end; ++k) squares += row[k] * row[k];
        const double rms = std::sqrt(squares / static_cast<double>(end - first));
        for (size_t k = first; k < end; ++k) row[k] /= round > 0 && rms > 0 ? rms : 1;
      }
    }
    for (int64_t k = 0; k < m.cols; ++k) {
      double squares = 0;
      for (const auto& row : x) squares += row[k] * row[k];
      const double rms = std::sqrt(squares / static_cast<double>(m.rows));
      for (auto& row : x) row[k] /= rms > 0 ? rms : 1;
      t[k] *= rms > 0 ? rms : 1;
    }
  }
  double mean = 0;
  for (const double s : t) mean += std::log(s) / static_cast<double>(m.cols);
  for (double& s : t) s /= std::exp(mean);
  return t;
}

void expect_legal(const std::vector<float>& t) {
  for (size_t k = 0; k < t.size(); ++k) {
    ASSERT_GE(t[k], 0x1p-14f) << "column " << k;
    ASSERT_LE(t[k], 0x1p15f) << "column " << k;
    ASSERT_EQ(f32_from_f16(f16_from_f32(t[k])), t[k]) << "column " << k;
  }
}

TEST(ColumnScales, FollowTheDefinition) {
  for (const auto& [rows, cols] :
       {std::pair<int64_t, int64_t>{40, 30}, {7, 100}, {200, 9}, {1100, 17}, {3, 3}, {20, 129}}) {
    SCOPED_TRACE(testing::Message() << rows << " x " << cols << ", seed " << kSeed);
    const Matrix m = gaussian(rows, cols);
    const auto t = scales_of(m);
    const auto expected = by_definition(m, 8);
    expect_legal(t);
    ASSERT_EQ(t.size(), expected.size());
    for (size_t k = 0; k < t.size(); ++k) {  // half a unit in fp16's last place
      EXPECT_NEAR(t[k], expected[k], expected[k] * 0x1.01p-11) << "column " << k;
    }
  }
}

TEST(ColumnScales, UndoTheSpreadsOfRowsAndColumns) {
  // +-1 times a spread for each row and column: t is the columns' spread, whatever the rows'.
  std::mt19937 random(kSeed);
  std::normal_distribution<double> normal;
  Matrix m = gaussian(50, 40);
  std::vector<double> c(40);
  double mean = 0;
  for (double& x : c) mean += (x = normal(random)) / 40;
  for (int64_t r = 0; r < 50; ++r) {
    const double row = std::exp(3 * normal(random));
    for (int64_t k = 0; k < 40; ++k) m.at(r, k) = static_cast<float>((random() % 2 ? 1 : -1) * row * std::exp(c[k]));
  }
  const auto t = scales_of(m);
  for (int64_t k = 0; k < 40; ++k) EXPECT_NEAR(t[k] / std::exp(c[k] - mean), 1, 1e-3) << k << ", seed " << kSeed;
}

TEST(ColumnScales, AColumnTimesCHasScaleTimesC) {
  const Matrix m = gaussian(60, 50);
  Matrix scaled = m;
  for (int64_t r = 0; r < 60; ++r) scaled.at(r, 7) *= 8;
  const auto before = scales_of(m), after = scales_of(scaled);
  for (int64_t k = 0; k < 50; ++k) {
    const double expected = before[k] * (k == 7 ? 8 : 1) / std::pow(8.0, 1.0 / 50);
    EXPECT_NEAR(after[k], expected, expected * 0x1.2p-10) << "column " << k << ", seed " << kSeed;
  }
}

TEST(ColumnScales, RowsSignsAndAFactorForAllMakeNoDifference) {
  const Matrix m = gaussian(60, 50);
  Matrix other = m;
  for (float& w : other.data) w *= 0x1p40f;
  for (int64_t k = 0; k < 50; ++k) other.at(11, k) = -other.at(11, k);
  EXPECT_EQ(scales_of(m), scales_of(other)) << "seed " << kSeed;
}

TEST(ColumnScales, EqualColumnsHaveScaleOne) {
  Matrix m = gaussian(30, 20);
  for (int64_t r = 0; r < 30; ++r) {
    for (int64_t k = 1; k < 20; ++k) m.at(r, k) = m.at(r, 0);
  }
  EXPECT_EQ(scales_of(m), std::vector<float>(20, 1.0f)) << "seed " << kSeed;
}

TEST(ColumnScales, OfSeveralMatricesAreThoseOfThemStacked) {
  const Matrix m = gaussian(96, 33);
  const MatrixView parts[] = {
      {m.data.data(), 50, 33}, {m.data.data() + 50 * 33, 1, 33}, {m.data.data() + 51 * 33, 45, 33}};
  const auto joint = column_scales(parts), stacked = scales_of(m);
  for (size_t k = 0; k < 33; ++k) EXPECT_NEAR(joint[k] / stacked[k], 1, 0x1.01p-10) << "column " << k;
  const MatrixView unlike[] = {{m.data.data(), 2, 33}, {m.data.data(), 2, 32}};
  EXPECT_THROW(column_scales(unlike), Error);
  EXPECT_TRUE(column_scales({}).empty());
}

TEST(ColumnScales, SmallestMatrices) {
  Matrix row = gaussian(1, 40), column = gaussian(40, 1);
  const auto of_row = scales_of(row);
  double mean = 0;
  for (const float w : row.data) mean += std::log(std::fabs(w)) / 40;
  for (size_t k = 0; k < 40; ++k) EXPECT_NEAR(of_row[k] / (std::fabs(row.data[k]) / std::exp(mean)), 1, 1e-3) << k;
  EXPECT_EQ(scales_of(column), std::vector<float>{1.0f});
  EXPECT_EQ(column_scales(std::vector<MatrixView>{{nullptr, 0, 5}}), std::vector<float>(5, 1.0f));
  EXPECT_TRUE(column_scales(std::vector<MatrixView>{{nullptr, 5, 0}}).empty());
}

struct Adversarial {
  const char* name;
  float (*weight)(int row, int col, float normal);
};

const Adversarial kAdversarial[] = {
    {"zero", [](int, int, float) { return 0.0f; }},
    {"constant", [](int, int, float) { return 0.37f; }},
    {"zero columns", [](int, int c, float x) { return c % 3 ? x : 0.0f; }},
    {"zero rows", [](int r, int, float x) { return r % 3 ? x : 0.0f; }},
    {"diagonal", [](int r, int c, float x) { return c % 16 == r ? x : 0.0f; }},
    {"one weight", [](int r, int c, float) { return r == 3 && c == 70 ? 2.0f : 0.0f; }},
    {"one outlier", [](int r, int c, float x) { return r == 3 && c == 70 ? 800.0f : 0.02f * x; }},
    {"upper triangle", [](int r, int c, float x) { return c / 16 >= r ? x : 0.0f; }},
    {"huge range of columns", [](int, int c, float x) { return std::pow(10.0f, float(c % 60 - 30)) * x; }},
    {"huge range of rows", [](int r, int, float x) { return std::pow(10.0f, 4.0f * float(r - 8)) * x; }},
    {"denormal", [](int, int, float x) { return 1e-42f * x; }},
    {"largest floats", [](int r, int, float x) { return r == 0 ? std::copysign(3e38f, x) : 1e-3f * x; }},
    {"largest floats where columns are small",
     [](int r, int c, float x) { return r == 0 ? std::copysign(3e38f, x) : (c == 5 ? 1e-20f : 1e20f) * x; }},
};

TEST(ColumnScales, AreLegalWhateverTheWeights) {
  for (const Adversarial& kind : kAdversarial) {
    SCOPED_TRACE(testing::Message() << kind.name << ", seed " << kSeed);
    Matrix m = gaussian(16, 256, 0);
    double norm = 0;
    for (int i = 0; i < 16 * 256; ++i) {
      m.data[i] = kind.weight(i / 256, i % 256, 50 * m.data[i]);
      norm += std::pow(double{m.data[i]}, 2);
    }
    const auto t = scales_of(m);
    expect_legal(t);
    for (int64_t k = 0; k < 256; ++k) {
      bool zero = true;
      for (int64_t r = 0; r < 16; ++r) zero &= m.at(r, k) == 0;
      EXPECT_TRUE(!zero || t[static_cast<size_t>(k)] == 1.0f) << "column " << k;
    }
    const NormalizedMatrix normalized = normalize_matrix(m.view(), Normalize::columns, 0);
    EXPECT_TRUE(
        std::all_of(normalized.values.begin(), normalized.values.end(), [](float w) { return std::isfinite(w); }));
    // Eight bits in fp32 metadata lose next to nothing, unless division has made the range of a group larger.
    const QuantizedMatrix q = quantize_matrix(m.view(), {8, 32}, {Fit::mse, 1, Metadata::f32, Normalize::columns});
    std::vector<float> back(m.data.size());
    dequantize_matrix(q.view(), back.data());
    double error = 0;
    for (size_t i = 0; i < back.size(); ++i) error += std::pow(double{m.data[i]} - double{back[i]}, 2);
    EXPECT_LE(std::sqrt(error), 0.02 * std::sqrt(norm) + 1e-40);
  }
}

TEST(ColumnScales, ThreadsMakeNoDifference) {
  const Matrix m = gaussian(1500, 130);
  set_threads(1);
  const auto one = scales_of(m);
  set_threads(5);
  const auto five = scales_of(m);
  set_threads(0);
  EXPECT_EQ(one, five);
}

/// All that quantize, dequantize and measure say of each other, with scales on.
TEST(ColumnScales, MeasureEqualsQuantizingAndSubtracting) {
  const std::vector<Scheme> schemes = {{2, 32}, {3, 64}, {4, 64}, {8, 128}, {5, 16}};
  for (const auto& [rows, cols] :
       {std::pair<int64_t, int64_t>{8, 256}, {7, 200}, {3, 5}, {1, 77}, {77, 1}, {300, 70}}) {
    const Matrix m = gaussian(rows, cols);
    for (const Fit fit : {Fit::rtn, Fit::hqq, Fit::mse}) {
      for (const int axis : {0, 1}) {
        for (const Metadata metadata : {Metadata::q8, Metadata::f16, Metadata::f32}) {
          const QuantizeOptions options{fit, axis, metadata, Normalize::columns};
          const auto measured = measure_matrix(m.view(), schemes, options);
          for (size_t i = 0; i < schemes.size(); ++i) {
            SCOPED_TRACE(testing::Message()
                         << rows << " x " << cols << " " << fit_name(fit) << " axis " << axis << " "
                         << metadata_name(metadata) << " " << schemes[i].name() << " seed " << kSeed);
            const QuantizedMatrix q = quantize_matrix(m.view(), schemes[i], options);
            EXPECT_EQ(q.part("column_scales").size(), static_cast<size_t>(2 * cols));
            EXPECT_EQ(all_bytes(q), storage_bytes(schemes[i], options, rows, cols));
            std::vector<float> back(m.data.size());
            dequantize_matrix(q.view(), back.data());
            double sum = 0;
            for (size_t j = 0; j < back.size(); ++j) sum += std::pow(double{m.data[j] - back[j]}, 2);
            EXPECT_NEAR(measured[i], std::sqrt(sum), 1e-9 * std::sqrt(sum) + 1e-300);
          }
        }
      }
    }
  }
}

/// With column scales a matrix is quantized as the divided one is without, and read back times the scales.
TEST(ColumnScales, AreAppliedToAPlainlyQuantizedMatrix) {
  const Matrix m = gaussian(13, 150);
  const auto t = scales_of(m);
  Matrix divided = m;
  for (int64_t i = 0; i < m.view().size(); ++i) divided.data[i] /= t[static_cast<size_t>(i % 150)];
  for (const int axis : {0, 1}) {
    QuantizeOptions options{Fit::mse, axis, Metadata::q8, Normalize::none};
    const QuantizedMatrix plain = quantize_matrix(divided.view(), {3, 32}, options);
    options.normalize = Normalize::columns;
    const QuantizedMatrix scaled = quantize_matrix(m.view(), {3, 32}, options);
    for (size_t i = 0; i < plain.parts.size(); ++i) EXPECT_EQ(scaled.parts[i], plain.parts[i]);
    std::vector<float> back(m.data.size()), expected(m.data.size()), rows(3 * 150);
    dequantize_matrix(plain.view(), expected.data());
    for (size_t i = 0; i < expected.size(); ++i) expected[i] *= t[i % 150];
    dequantize_matrix(scaled.view(), back.data());
    EXPECT_EQ(back, expected);
    dequantize_rows(scaled.view(), 5, 3, rows.data());
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(), expected.begin() + 5 * 150));
  }
}

TEST(ColumnScales, QuantizedBytesDoNotDependOnThreads) {
  const Matrix m = gaussian(150, 333);
  const QuantizeOptions options{Fit::mse, 1, Metadata::q8, Normalize::columns};
  set_threads(1);
  const QuantizedMatrix one = quantize_matrix(m.view(), {3, 32}, options);
  const auto measured = measure_matrix(m.view(), paper_schemes(), options);
  set_threads(5);
  const QuantizedMatrix five = quantize_matrix(m.view(), {3, 32}, options);
  EXPECT_EQ(measured, measure_matrix(m.view(), paper_schemes(), options));
  set_threads(0);
  EXPECT_EQ(one.parts, five.parts);
}

TEST(ColumnScales, NormalizeIsNamed) {
  for (const Normalize n : {Normalize::none, Normalize::columns}) EXPECT_EQ(parse_normalize(normalize_name(n)), n);
  EXPECT_EQ(normalize_name(Normalize::columns), "columns");
  try {
    parse_normalize("rows");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_THAT(error.what(), testing::HasSubstr("none, columns"));
  }
}

}  // namespace
}  // namespace mxq
