#include "schemes/normalize/column_scales.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"
#include "base/parallel.h"
#include "mxq/error.h"

namespace mxq {

namespace {

/// From four to sixteen they give the same quality within what measuring it leaves open (docs/reference/algorithms.md).
constexpr int kRounds = 8;
/// Rows are levelled within tiles of so many columns: measured better than whole rows (docs/reference/algorithms.md).
constexpr int64_t kTileColumns = 64;
/// What a t may be: normal numbers of fp16.
constexpr float kSmallest = 0x1p-14f, kLargest = 0x1p15f;

/// A stripe is a run of rows whose share of the columns' sums is added up on its own, so that the sums do not depend on
/// the threads. At most this many stripes a matrix, of at least so many weights.
constexpr int64_t kStripes = 64;
constexpr int64_t kStripeWeights = 1 << 15;

std::vector<MatrixView> stripes_of(std::span<const MatrixView> matrices) {
  std::vector<MatrixView> stripes;
  for (const MatrixView& matrix : matrices) {
    const int64_t height =
        std::max(kStripeWeights / std::max<int64_t>(matrix.cols, 1) + 1, (matrix.rows + kStripes - 1) / kStripes);
    for (int64_t row = 0; row < matrix.rows; row += height) {
      stripes.push_back({matrix.data + row * matrix.cols, std::min(height, matrix.rows - row), matrix.cols});
    }
  }
  return stripes;
}

/// One round on the squares of some rows: each row's part in a tile is divided so that its mean under v is 1, then the
/// columns are summed.
void add_rows(MatrixView rows, bool level_rows, const std::vector<double>& v, double* sums) {
  constexpr int64_t kLanes = 8;  // interleaved sums: their order is fixed, and a compiler can make vectors of them
  static_assert(kTileColumns % kLanes == 0);
  double squares[kTileColumns];
  for (int64_t r = 0; r < rows.rows; ++r) {
    for (int64_t first = 0; first < rows.cols; first += kTileColumns) {
      const int64_t n = std::min(kTileColumns, rows.cols - first);
      const float* part = rows.data + r * rows.cols + first;
      for (int64_t k = 0; k < n; ++k) squares[k] = double{part[k]} * double{part[k]};
      double u = 1;
      if (level_rows) {
        std::fill(squares + n, squares + kTileColumns, 0.0);
        double lanes[kLanes] = {};
        for (int64_t k = 0; k < n; k += kLanes) {
          for (int64_t l = 0; l < kLanes; ++l) lanes[l] += squares[k + l] * v[static_cast<size_t>(first + k + l)];
        }
        const double sum =
            ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
        u = sum > 0 ? static_cast<double>(n) / sum : 0;
      }
      for (int64_t k = 0; k < n; ++k) sums[first + k] += squares[k] * u;
    }
  }
}

/// Scales to fp16, their geometric mean (over the columns that are not zero) at 1.
std::vector<float> rounded(const std::vector<double>& log_t, const std::vector<bool>& zero) {
  double sum = 0;
  int64_t count = 0;
  for (size_t k = 0; k < log_t.size(); ++k) {
    if (zero[k]) continue;
    sum += log_t[k];
    ++count;
  }
  const double mean = count > 0 ? sum / static_cast<double>(count) : 0;
  std::vector<float> t(log_t.size(), 1.0f);
  for (size_t k = 0; k < t.size(); ++k) {
    if (zero[k]) continue;
    t[k] = rounded_scale(std::exp(log_t[k] - mean));
  }
  return t;
}

/// Whether a weight might be too large to be divided.
bool may_overflow(const std::vector<MatrixView>& stripes, const std::vector<float>& t) {
  std::vector<float> largest(stripes.size(), 0.0f);
  parallel_for(static_cast<int64_t>(stripes.size()), [&](int64_t s) {
    const MatrixView& stripe = stripes[s];
    for (int64_t i = 0; i < stripe.size(); ++i) largest[s] = std::max(largest[s], std::fabs(stripe.data[i]));
  });
  if (t.empty() || largest.empty()) return false;
  return std::isinf(*std::max_element(largest.begin(), largest.end()) / *std::min_element(t.begin(), t.end()));
}

}  // namespace

float rounded_scale(double value) {
  return f32_from_f16(f16_from_f32(std::clamp(static_cast<float>(value), kSmallest, kLargest)));
}

std::vector<float> column_scales(std::span<const MatrixView> matrices) {
  if (matrices.empty()) return {};
  const int64_t cols = matrices.front().cols;
  int64_t rows = 0;
  for (const MatrixView& matrix : matrices) {
    rows += matrix.rows;
    if (matrix.cols == cols) continue;
    throw Error(ErrorCode::usage, "column scales", fmt::format("matrices of {} and {} columns", cols, matrix.cols),
                "matrices that share an input");
  }
  const auto stripes = stripes_of(matrices);
  const auto size = static_cast<size_t>(cols);
  // In fp64 the squares of all finite floats and their quotients are in range.
  std::vector<double> v(size + kTileColumns, 1.0), log_t(size, 0.0);  // v: room for the padding of a tile
  std::vector<std::vector<double>> sums(stripes.size());
  std::vector<bool> zero(size, true);
  for (int round = 0; round < kRounds; ++round) {
    parallel_for(static_cast<int64_t>(stripes.size()), [&](int64_t s) {
      sums[s].assign(size, 0.0);
      add_rows(stripes[s], round > 0, v, sums[s].data());
    });
    for (size_t k = 0; k < size; ++k) {
      double sum = 0;
      for (const auto& part : sums) sum += part[k];
      zero[k] = !(sum > 0);
      const double mean = zero[k] ? 1 : sum / static_cast<double>(rows);
      v[k] = 1 / mean;
      log_t[k] = 0.5 * std::log(mean);
    }
  }
  auto t = rounded(log_t, zero);
  if (may_overflow(stripes, t)) t.assign(size, 1.0f);
  return t;
}

}  // namespace mxq
