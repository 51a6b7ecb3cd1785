// GPTQ against the paper's formula in fp64, column by column, and in the cases where it comes to something known.
#include "schemes/feedback/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "base/bitpack.h"
#include "base/half.h"
#include "expect_error.h"
#include "mxq/error.h"
#include "mxq/runtime.h"
#include "schemes/feedback/test_matrices.h"

namespace mxq {
namespace {

constexpr Metadata kMetadata[] = {Metadata::q8, Metadata::f16, Metadata::f32, Metadata::f16_bias, Metadata::bf16_bias};

/// Codes, and scale and zero of every weight's group, as docs/reference/checkpoint.md has them.
struct Read {
  std::vector<int> codes;
  std::vector<double> scale, zero;
};

Read read_back(const QuantizedMatrix& q) {
  const auto& layout = q.layout;
  const int bits = layout.scheme.bits;
  const int64_t per_row = (layout.cols + layout.scheme.group - 1) / layout.scheme.group;
  const auto as = [](std::span<const std::byte> bytes, int64_t i, auto value) {
    std::memcpy(&value, bytes.data() + i * static_cast<int64_t>(sizeof value), sizeof value);
    return value;
  };
  Read out;
  for (int64_t r = 0; r < layout.rows; ++r) {
    std::vector<uint8_t> codes(static_cast<size_t>(layout.cols));
    unpack_codes(q.part("codes").subspan(static_cast<size_t>(r * layout.code_row_bytes())), bits, 0, layout.cols,
                 codes.data());
    for (int64_t c = 0; c < layout.cols; ++c) {
      const int64_t group = r * per_row + c / layout.scheme.group;
      out.codes.push_back(codes[c]);
      switch (layout.metadata) {
        case Metadata::q8:
          out.scale.push_back(f32_from_f16(as(q.part("scale_steps"), group / 128, uint16_t{})) *
                              static_cast<float>(as(q.part("scales"), group, uint8_t{})));
          out.zero.push_back(0.5 * ((1 << bits) - 1) - f32_from_f16(as(q.part("zero_steps"), group / 128, uint16_t{})) *
                                                           static_cast<float>(as(q.part("zeros"), group, int8_t{})));
          break;
        case Metadata::f16:
          out.scale.push_back(f32_from_f16(as(q.part("scales"), group, uint16_t{})));
          out.zero.push_back(f32_from_f16(as(q.part("zeros"), group, uint16_t{})));
          break;
        case Metadata::f16_bias:
          out.scale.push_back(f32_from_f16(as(q.part("scales"), group, uint16_t{})));
          out.zero.push_back(-f32_from_f16(as(q.part("biases"), group, uint16_t{})) / out.scale.back());
          break;
        case Metadata::bf16_bias:
          out.scale.push_back(f32_from_bf16(as(q.part("scales"), group, uint16_t{})));
          out.zero.push_back(-f32_from_bf16(as(q.part("biases"), group, uint16_t{})) / out.scale.back());
          break;
        case Metadata::f32:
          out.scale.push_back(as(q.part("scales"), group, float{}));
          out.zero.push_back(as(q.part("zeros"), group, float{}));
          break;
      }
    }
  }
  return out;
}

int nearest_code(double w, double scale, double zero, int bits) {
  const double t = scale > 0 ? w / scale + zero : zero;
  return static_cast<int>(std::nearbyint(std::clamp(t, 0.0, (1 << bits) - 1.0)));
}

/// H^-1 by Gauss-Jordan; H positive definite.
std::vector<double> inverse(std::vector<double> h, int64_t n) {
  std::vector<double> out(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) out[i * n + i] = 1;
  for (int64_t k = 0; k < n; ++k) {
    const double pivot = h[k * n + k];
    for (int64_t c = 0; c < n; ++c) {
      h[k * n + c] /= pivot;
      out[k * n + c] /= pivot;
    }
    for (int64_t r = 0; r < n; ++r) {
      const double factor = h[r * n + k];
      if (r == k || factor == 0) continue;
      for (int64_t c = 0; c < n; ++c) {
        h[r * n + c] -= factor * h[k * n + c];
        out[r * n + c] -= factor * out[k * n + c];
      }
    }
  }
  return out;
}

/// Upper U with U^T U = a.
std::vector<double> upper_cholesky(const std::vector<double>& a, int64_t n) {
  std::vector<double> u(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      double sum = a[i * n + j];
      for (int64_t k = 0; k < i; ++k) sum -= u[k * n + i] * u[k * n + j];
      u[i * n + j] = i == j ? std::sqrt(sum) : sum / u[i * n + i];
    }
  }
  return u;
}

/// Algorithm 1 of the paper, with H damped by 0.01 and inverted.
class Paper {
 public:
  Paper(const std::vector<float>& moments, int64_t n, std::span<const int32_t> order)
      : n_(n), order_(order.begin(), order.end()) {
    double mean = 0;
    for (int64_t c = 0; c < n; ++c) mean += moments[c * n + c] / static_cast<double>(n);
    std::vector<double> h(static_cast<size_t>(n * n));
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) h[i * n + j] = moments[order_[i] * n + order_[j]] + (i == j ? 0.01 * mean : 0.0);
    }
    u_ = upper_cholesky(inverse(h, n), n);
  }

  /// The codes on the grids that `read` has. visit: w as updated before the i-th column in order is coded.
  using Visit = std::function<void(int64_t row, int64_t i, const std::vector<double>& w)>;
  std::vector<int> codes(const Matrix& m, const Read& read, int bits, const Visit& visit = nullptr) const {
    std::vector<int> codes(static_cast<size_t>(m.rows * n_));
    for (int64_t r = 0; r < m.rows; ++r) {
      std::vector<double> w(static_cast<size_t>(n_));
      for (int64_t i = 0; i < n_; ++i) w[i] = m.data[r * n_ + order_[i]];
      for (int64_t i = 0; i < n_; ++i) {
        if (visit) visit(r, i, w);
        const int64_t at = r * n_ + order_[i];
        codes[at] = nearest_code(w[i], read.scale[at], read.zero[at], bits);
        const double error = (w[i] - (codes[at] - read.zero[at]) * read.scale[at]) / u_[i * n_ + i];
        for (int64_t j = i; j < n_; ++j) w[j] -= error * u_[i * n_ + j];
      }
    }
    return codes;
  }

 private:
  int64_t n_;
  std::vector<int64_t> order_;
  std::vector<double> u_;
};

bool same_bytes(const QuantizedMatrix& a, const QuantizedMatrix& b) {
  return a.parts == b.parts;
}

TEST(FeedbackFactor, MultipliesToTheDampedAndShrunkMoments) {
  for (const int64_t n : {1, 2, 63, 64, 65, 130, 200}) {
    for (const bool reorder : {false, true}) {
      SCOPED_TRACE(testing::Message() << n << " columns, reordered " << reorder << ", seed " << kSeed);
      std::mt19937 random(kSeed);
      const auto h = correlated(n, 3 * n, random);
      const FeedbackFactor factor(h, n, {.damping = 0.05, .shrinkage = 0.25, .ordered_groups = reorder ? 32 : 0});
      EXPECT_EQ(factor.damping(), 0.05);
      double mean = 0;
      for (int64_t c = 0; c < n; ++c) mean += h[c * n + c] / static_cast<double>(n);
      const auto m = [&](int64_t i, int64_t j) { return i == j ? 1.0 : double{factor.coefficients()[j * n + i]}; };
      for (int64_t i = 0; i < n; ++i) {
        const int64_t row = factor.order()[i];
        for (int64_t j = i; j < n; ++j) {
          double sum = 0;
          for (int64_t k = j; k < n; ++k) sum += m(i, k) * factor.pivots()[k] * m(j, k);
          const double expected = h[row * n + factor.order()[j]] / mean * (i == j ? 1 : 0.75) + (i == j ? 0.05 : 0.0);
          const double size = std::sqrt(h[row * n + row] * h[factor.order()[j] * n + factor.order()[j]]) / mean;
          ASSERT_NEAR(sum, expected, 2e-6 * (size + 0.05)) << i << " " << j;
        }
      }
    }
  }
}

TEST(FeedbackFactor, OrderKeepsGroupsTogether) {
  std::vector<float> h(11 * 11, 0.0f);
  const float diagonal[] = {1, 5, 2, 3, 9, 9, 4, 8, 0, 100, 50};
  for (int c = 0; c < 11; ++c) h[c * 12] = diagonal[c];
  const auto order_of = [&](int64_t group) {
    const FeedbackFactor factor(h, 11, {.ordered_groups = group});
    return std::vector<int32_t>(factor.order().begin(), factor.order().end());
  };
  EXPECT_EQ(order_of(0), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(order_of(4), (std::vector<int32_t>{4, 5, 7, 6, 1, 3, 2, 0, 9, 10, 8})) << "a short group stays the last";
  EXPECT_EQ(order_of(16), (std::vector<int32_t>{9, 10, 4, 5, 7, 1, 6, 3, 2, 0, 8}));
}

TEST(Gptq, CodesAreThoseOfThePaper) {
  // One block; several, with a short last group; groups as wide as two blocks.
  const std::tuple<int64_t, int64_t, Scheme> cases[] = {
      {20, 96, {2, 32}}, {37, 300, {3, 64}}, {40, 330, {4, 64}}, {17, 400, {4, 256}}, {33, 200, {8, 128}}};
  for (const auto& [rows, cols, scheme] : cases) {
    std::mt19937 random(kSeed);
    const Matrix m = gaussian(rows, cols, random);
    const auto h = correlated(cols, 2 * cols, random);
    for (const bool reorder : {false, true}) {
      const GptqOptions gptq{.damping = 0.01, .ordered_groups = reorder ? scheme.group : 0};
      const Paper paper(h, cols, FeedbackFactor(h, cols, gptq).order());
      for (const Metadata metadata : kMetadata) {
        SCOPED_TRACE(testing::Message() << rows << " x " << cols << " " << scheme.name() << " "
                                        << metadata_name(metadata) << " reordered " << reorder << " seed " << kSeed);
        const auto q = quantize_matrix_gptq(m.view(), h, scheme, {Fit::mse, 1, metadata}, gptq);
        const Read read = read_back(q);
        const auto expected = paper.codes(m, read, scheme.bits);
        // A code on the edge between two may go either way, and then changes what comes after it in its row.
        int64_t rows_equal = 0;
        for (int64_t r = 0; r < rows; ++r) {
          rows_equal +=
              std::equal(expected.begin() + r * cols, expected.begin() + (r + 1) * cols, read.codes.begin() + r * cols);
        }
        EXPECT_GE(rows_equal, scheme.bits == 8 ? rows / 2 : rows * 9 / 10);
      }
    }
  }
}

/// quant.py of the paper's code: the range of a group's weights as they are when its first column is coded, so with all
/// updates that coded columns have made to them, and none for the group's own.
TEST(Gptq, GridsFitTheUpdatedWeights) {
  const Scheme scheme{3, 64};
  const int64_t rows = 24, cols = 330;
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(rows, cols, random);
  const auto h = correlated(cols, 2 * cols, random);
  for (const bool symmetric : {false, true}) {
    for (const bool reorder : {false, true}) {
      GptqOptions gptq{.damping = 0.01, .ordered_groups = reorder ? scheme.group : 0};
      gptq.grid = symmetric ? GptqOptions::Grid::symmetric : GptqOptions::Grid::range;
      const auto q = quantize_matrix_gptq(m.view(), h, scheme, {Fit::gptq, 1, Metadata::f32}, gptq);
      const Read read = read_back(q);
      const FeedbackFactor factor(h, cols, gptq);
      const auto order = factor.order();
      int64_t groups = 0, same = 0;
      Paper(h, cols, order).codes(m, read, scheme.bits, [&](int64_t r, int64_t i, const std::vector<double>& w) {
        if (i % scheme.group != 0) return;
        const auto begin = w.begin() + i, end = w.begin() + std::min(cols, i + scheme.group);
        double low = std::min(0.0, *std::min_element(begin, end)), high = std::max(0.0, *std::max_element(begin, end));
        if (symmetric) low = -(high = std::max(high, -low));
        const double scale = (high - low) / 7, zero = symmetric ? 4 : std::nearbyint(-low / scale);
        const int64_t at = r * cols + order[static_cast<size_t>(i)];
        ++groups;
        same += std::fabs(read.scale[at] - scale) < 1e-4 * scale && read.zero[at] == zero;
      });
      // A code on the edge between two may go either way, and then changes what comes after it in its row.
      EXPECT_EQ(groups, rows * 6);
      EXPECT_GE(same, groups * 9 / 10) << "symmetric " << symmetric << " reordered " << reorder << " seed " << kSeed;
    }
  }
}

TEST(Gptq, WithoutCorrelationItRounds) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(40, 200, random);
  for (const Metadata metadata : {Metadata::q8, Metadata::f32}) {
    for (const float size : {1.0f, 0.0f}) {  // all columns dead is no correlation either
      auto h = identity(m.cols);
      for (float& x : h) x *= size;
      const auto q = quantize_matrix_gptq(m.view(), h, {3, 32}, {Fit::mse, 1, metadata});
      const Read read = read_back(q);
      for (size_t i = 0; i < m.data.size(); ++i) {
        const double t = std::clamp(m.data[i] / read.scale[i] + read.zero[i], 0.0, 7.0);
        ASSERT_LE(std::fabs(read.codes[i] - t), 0.5 + 1e-5) << i << " seed " << kSeed;
      }
      // Fitted like the mse fit, so as good but for coarser steps.
      const double mse =
          output_error(m.view(), quantize_matrix(m.view(), {3, 32}, {Fit::mse, 1, metadata}).view(), identity(m.cols));
      EXPECT_LE(output_error(m.view(), q.view(), identity(m.cols)), 1.01 * mse);
    }
  }
}

TEST(Gptq, LosesLessThanMse) {
  std::mt19937 random(kSeed);
  const int64_t cols = 320;
  const Matrix m = gaussian(48, cols, random);
  const auto h = correlated(cols, 3 * cols, random);
  for (const bool reorder : {false, true}) {
    for (const Scheme& scheme : paper_schemes()) {
      const FeedbackFactor factor(h, cols, {.damping = 0.01, .ordered_groups = reorder ? scheme.group : 0});
      for (const Metadata metadata : kMetadata) {
        SCOPED_TRACE(testing::Message() << scheme.name() << " " << metadata_name(metadata) << " reordered " << reorder
                                        << " seed " << kSeed);
        const QuantizeOptions options{Fit::mse, 1, metadata};
        const auto q = quantize_matrix_gptq(m.view(), factor, scheme, options);
        EXPECT_EQ(q.layout.total_bytes(), storage_bytes(scheme, options, m.rows, m.cols));
        const double mse = output_error(m.view(), quantize_matrix(m.view(), scheme, options).view(), h);
        EXPECT_LT(output_error(m.view(), q.view(), h), 0.7 * mse);
      }
    }
  }
}

TEST(Gptq, MetadataInEightBitsCostLittle) {
  std::mt19937 random(kSeed);
  const int64_t cols = 320;
  const Matrix m = gaussian(96, cols, random);
  const auto h = correlated(cols, 3 * cols, random);
  const FeedbackFactor factor(h, cols);
  for (const Scheme& scheme : {Scheme{2, 64}, {3, 32}, {3, 64}, {4, 64}, {4, 128}}) {
    const auto q8 = quantize_matrix_gptq(m.view(), factor, scheme, {Fit::mse, 1, Metadata::q8});
    const auto f32 = quantize_matrix_gptq(m.view(), factor, scheme, {Fit::mse, 1, Metadata::f32});
    EXPECT_LT(output_error(m.view(), q8.view(), h), 1.05 * output_error(m.view(), f32.view(), h)) << scheme.name();
  }
}

TEST(Gptq, DeadColumnsGiveAndTakeNothing) {
  std::mt19937 random(kSeed);
  const int64_t cols = 150;
  const Matrix m = gaussian(20, cols, random);
  auto h = correlated(cols, 400, random);
  const std::vector<int64_t> dead = {0, 7, 63, 64, 149};
  for (const int64_t d : dead) {
    for (int64_t c = 0; c < cols; ++c) h[d * cols + c] = h[c * cols + d] = 0;
  }
  const auto q = quantize_matrix_gptq(m.view(), h, {3, 64}, {});
  const Read read = read_back(q);
  for (const int64_t d : dead) {
    for (int64_t r = 0; r < m.rows; ++r) {
      const int64_t at = r * cols + d;
      const double t = std::clamp(m.data[at] / read.scale[at] + read.zero[at], 0.0, 7.0);
      EXPECT_LE(std::fabs(read.codes[at] - t), 0.5 + 1e-5) << "row " << r << " column " << d;
    }
  }
  // Nothing that leaks from a dead column's entries of H: only its diagonal says that it is dead.
  auto leaky = h;
  for (int64_t c = 0; c < cols; ++c) {
    if (c != 7) leaky[7 * cols + c] = leaky[c * cols + 7] = 0.5f;
  }
  EXPECT_TRUE(same_bytes(q, quantize_matrix_gptq(m.view(), leaky, {3, 64}, {})));
  EXPECT_EQ(read.codes, Paper(h, cols, FeedbackFactor(h, cols).order()).codes(m, read, 3));
}

TEST(Gptq, FewerSamplesThanColumns) {
  std::mt19937 random(kSeed);
  const int64_t cols = 260;
  const Matrix m = gaussian(30, cols, random);
  const auto h = correlated(cols, 12, random);
  const double mse = output_error(m.view(), quantize_matrix(m.view(), {4, 64}, {}).view(), h);
  for (const double damping : {0.01, 1e-9, 0.0}) {
    const FeedbackFactor factor(h, cols, {.damping = damping});
    EXPECT_EQ(factor.damping() == damping, damping == 0.01) << factor.damping();
    const auto q = quantize_matrix_gptq(m.view(), factor, {4, 64}, {});
    EXPECT_LT(output_error(m.view(), q.view(), h), 0.2 * mse) << damping;
  }
}

TEST(Gptq, SumOrMeanIsTheSame) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(20, 140, random);
  const auto h = correlated(140, 500, random);
  const auto q = quantize_matrix_gptq(m.view(), h, {3, 64}, {});
  for (const float factor : {0x1p40f, 0x1p-60f}) {
    auto scaled = h;
    for (float& x : scaled) x *= factor;
    EXPECT_TRUE(same_bytes(q, quantize_matrix_gptq(m.view(), scaled, {3, 64}, {}))) << factor;
  }
}

TEST(Gptq, OddRowsAndShapes) {
  std::mt19937 random(kSeed);
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 200}, {200, 1}, {1, 1}, {17, 33}, {5, 129}}) {
    Matrix m = gaussian(rows, cols, random);
    for (int64_t c = 0; c < cols; ++c) {
      if (rows > 3) m.data[3 * cols + c] = 0.25f;  // constant
      if (rows > 4) m.data[4 * cols + c] = 0;
    }
    m.data[static_cast<size_t>(cols / 2)] = 9;  // an outlier
    const auto h = correlated(cols, 2 * cols + 3, random);
    for (const Metadata metadata : kMetadata) {
      for (const bool reorder : {false, true}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << cols << " " << metadata_name(metadata) << " reordered "
                                        << reorder << " seed " << kSeed);
        const QuantizeOptions options{Fit::mse, 1, metadata};
        const auto q =
            quantize_matrix_gptq(m.view(), h, {4, 32}, options, {.damping = 0.01, .ordered_groups = reorder ? 32 : 0});
        std::vector<float> back(m.data.size());
        dequantize_matrix(q.view(), back.data());
        for (const float w : back) ASSERT_TRUE(std::isfinite(w));
        for (int64_t c = 0; c < cols; ++c) {
          ASSERT_TRUE(rows <= 4 || back[4 * cols + c] == 0) << c;
        }
        const double mse = output_error(m.view(), quantize_matrix(m.view(), {4, 32}, options).view(), h);
        // What a coarser grid does to the outlier, alone in its group, aside.
        EXPECT_LE(output_error(m.view(), q.view(), h), 1.05 * mse + 1e-4 * 81 * h[cols / 2 * (cols + 1)]);
      }
    }
  }
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{0, 64}, {3, 0}, {0, 0}}) {
    const Matrix m{{}, rows, cols};
    const auto h = identity(cols);
    const auto q = quantize_matrix_gptq(m.view(), h, {4, 64}, {});
    EXPECT_EQ(q.layout.rows, rows);
    EXPECT_EQ(output_error(m.view(), q.view(), h), 0);
  }
}

TEST(Gptq, ThreadsChangeNothing) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(150, 400, random);
  const auto h = correlated(400, 500, random);
  for (const int64_t ordered : {0, 64}) {
    const GptqOptions gptq{.damping = 0.01, .ordered_groups = ordered};
    set_threads(1);
    const auto one = quantize_matrix_gptq(m.view(), h, {3, 64}, {}, gptq);
    const double error = output_error(m.view(), one.view(), h);
    for (const int threads : {2, 3, 8}) {
      set_threads(threads);
      EXPECT_TRUE(same_bytes(one, quantize_matrix_gptq(m.view(), h, {3, 64}, {}, gptq))) << threads;
      EXPECT_EQ(output_error(m.view(), one.view(), h), error) << threads;
    }
    set_threads(0);
  }
}

TEST(Gptq, WithoutFeedbackTheDiagonalWeighsErrors) {
  std::mt19937 random(kSeed);
  const int64_t cols = 256;
  const Matrix m = gaussian(48, cols, random);
  auto h = correlated(cols, 3 * cols, random);
  for (const Metadata metadata : {Metadata::q8, Metadata::f32}) {
    const QuantizeOptions options{Fit::mse, 1, metadata};
    const auto q = quantize_matrix_gptq(m.view(), h, {2, 64}, options, {.damping = 0, .feedback = false});
    std::vector<float> diagonal(h.size());
    for (int64_t c = 0; c < cols; ++c) diagonal[c * (cols + 1)] = h[c * (cols + 1)];
    // Every code is the nearest on its grid, and the grids are better ones for that measure than those of plain mse.
    const Read read = read_back(q);
    for (size_t i = 0; i < m.data.size(); ++i) {
      const double t = std::clamp(m.data[i] / read.scale[i] + read.zero[i], 0.0, 3.0);
      ASSERT_LE(std::fabs(read.codes[i] - t), 0.5 + 1e-5) << i << " seed " << kSeed;
    }
    EXPECT_LT(output_error(m.view(), q.view(), diagonal),
              0.97 * output_error(m.view(), quantize_matrix(m.view(), {2, 64}, options).view(), diagonal))
        << metadata_name(metadata) << " seed " << kSeed;
  }
}

TEST(Gptq, OutputErrorIsItsDefinition) {
  std::mt19937 random(kSeed);
  const Matrix m = gaussian(21, 90, random);
  const auto h = correlated(90, 50, random);
  const auto q = quantize_matrix(m.view(), {3, 32}, {Fit::mse, 0, Metadata::f16});
  const double expected = error_by_definition(m, q, h);
  EXPECT_NEAR(output_error(m.view(), q.view(), h), expected, 1e-5 * expected);
}

TEST(Gptq, RefusesBadInput) {
  std::mt19937 random(kSeed);
  Matrix m = gaussian(4, 70, random);
  const auto h = correlated(70, 200, random);
  const Scheme scheme{4, 64};
  const auto quantize = [&](const std::vector<float>& moments, const QuantizeOptions& options = {},
                            double damping = 0) {
    return [&, options, damping] { quantize_matrix_gptq(m.view(), moments, scheme, options, {.damping = damping}); };
  };
  const std::vector<float> few(h.begin(), h.end() - 1), none, rows(70 * 69);
  for (const auto* wrong : {&few, &none, &rows}) {
    expect_error(ErrorCode::usage, std::to_string(wrong->size()) + " second moments for 70 columns", quantize(*wrong));
    expect_error(ErrorCode::usage, "70 columns",
                 [&] { output_error(m.view(), quantize_matrix(m.view(), scheme, {}).view(), *wrong); });
  }
  auto bad = h;
  bad[5 * 70 + 9] = std::numeric_limits<float>::quiet_NaN();
  expect_error(ErrorCode::not_finite, "row 5, column 9", quantize(bad));
  bad[5 * 70 + 9] = std::numeric_limits<float>::infinity();
  expect_error(ErrorCode::not_finite, "row 5, column 9", quantize(bad));
  bad = h;
  for (int64_t c = 0; c < 70; ++c) bad[c * 71] = -bad[c * 71];
  for (int64_t c = 0; c < 70; ++c) bad[c * 70 + (c + 1) % 70] = bad[(c + 1) % 70 * 70 + c] = 1e9f;
  expect_error(ErrorCode::not_finite, "positive definite", quantize(bad));
  expect_error(ErrorCode::usage, "damping -1", quantize(h, {}, -1));
  expect_error(ErrorCode::usage, "damping", quantize(h, {}, std::numeric_limits<double>::quiet_NaN()));
  expect_error(ErrorCode::unsupported, "axis 0", quantize(h, {Fit::mse, 0}));
  expect_error(ErrorCode::unsupported, "fit hqq", quantize(h, {Fit::hqq}));
  expect_error(ErrorCode::unsupported, "fit gptq of weights alone",
               [&] { quantize_matrix(m.view(), scheme, {Fit::gptq}); });
  expect_error(ErrorCode::unsupported, "fit gptq of weights alone", [&] {
    measure_matrix(m.view(), {&scheme, 1}, {Fit::gptq});
  });
  expect_error(ErrorCode::usage, "2 column scales for 70", [&] {
    FeedbackFactor(h, 70).scaled(std::vector<float>{1, 1});
  });
  expect_error(ErrorCode::usage, "2 columns for 70",
               [&] { quantize_matrix_gptq(m.view(), FeedbackFactor(identity(2), 2), scheme, {}); });
  const Matrix other = gaussian(4, 69, random);
  expect_error(ErrorCode::usage, "4 x 69",
               [&] { output_error(other.view(), quantize_matrix(m.view(), scheme, {}).view(), h); });
  m.data[2 * 70 + 3] = std::numeric_limits<float>::infinity();
  expect_error(ErrorCode::not_finite, "row 2, column 3", quantize(h));
}

}  // namespace
}  // namespace mxq
