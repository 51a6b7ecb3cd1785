#include "schemes/column_scales.h"

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

/// After these t hardly moves any more (docs/algorithms.md has the figures).
constexpr int kRounds = 16;
/// What a t may be: normal numbers of fp16.
constexpr float kSmallest = 0x1p-14f, kLargest = 0x1p15f;

/// A stripe is a run of rows whose share of the columns' sums is added up on its own, so that the sums do not depend on
/// the threads. At most this many stripes a matrix, of at least so many weights.
constexpr int64_t kStripes = 64;
constexpr int64_t kStripeWeights = 1 << 15;

struct Stripe {
  MatrixView rows;
};

std::vector<Stripe> stripes_of(std::span<const MatrixView> matrices) {
  std::vector<Stripe> stripes;
  for (const MatrixView& matrix : matrices) {
    const int64_t height =
        std::max(kStripeWeights / std::max<int64_t>(matrix.cols, 1) + 1, (matrix.rows + kStripes - 1) / kStripes);
    for (int64_t row = 0; row < matrix.rows; row += height) {
      stripes.push_back({{matrix.data + row * matrix.cols, std::min(height, matrix.rows - row), matrix.cols}});
    }
  }
  return stripes;
}

/// sum of (row_k)^2 v_k, in eight interleaved sums: the order is fixed, and a compiler can make vectors of them.
double scaled_square_sum(const float* row, const double* v, int64_t n) {
  constexpr int64_t kLanes = 8;
  double sums[kLanes] = {};
  int64_t k = 0;
  for (; k + kLanes <= n; k += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      const double w = row[k + l];
      sums[l] += w * w * v[k + l];
    }
  }
  for (int64_t l = 0; k + l < n; ++l) {
    const double w = row[k + l];
    sums[l] += w * w * v[k + l];
  }
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

/// sums_k += u (row_k)^2.
void add_scaled_squares(const float* row, double u, int64_t n, double* sums) {
  for (int64_t k = 0; k < n; ++k) {
    const double w = row[k];
    sums[k] += w * w * u;
  }
}

/// One round on the squares of a stripe: rows are divided so that their mean under v is 1, then their columns summed.
void add_stripe(const Stripe& stripe, bool level_rows, const std::vector<double>& v, double* sums) {
  const auto& [data, rows, cols] = stripe.rows;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = data + r * cols;
    double u = 1;
    if (level_rows) {
      const double mean = scaled_square_sum(row, v.data(), cols) / static_cast<double>(cols);
      u = mean > 0 ? 1 / mean : 0;
    }
    add_scaled_squares(row, u, cols, sums);
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
    const auto value = static_cast<float>(std::exp(log_t[k] - mean));
    t[k] = f32_from_f16(f16_from_f32(std::clamp(value, kSmallest, kLargest)));
  }
  return t;
}

/// Whether any weight is too large to be divided.
bool overflows(const std::vector<Stripe>& stripes, const std::vector<float>& t) {
  std::vector<char> found(stripes.size(), 0);
  parallel_for(static_cast<int64_t>(stripes.size()), [&](int64_t s) {
    const auto& [data, rows, cols] = stripes[s].rows;
    for (int64_t i = 0; i < rows * cols; ++i) {
      if (std::isinf(data[i] / t[i % cols])) found[s] = 1;
    }
  });
  return std::find(found.begin(), found.end(), 1) != found.end();
}

}  // namespace

std::vector<float> column_scales(std::span<const MatrixView> matrices) {
  if (matrices.empty()) return {};
  const int64_t cols = matrices.front().cols;
  for (const MatrixView& matrix : matrices) {
    if (matrix.cols == cols) continue;
    throw Error(ErrorCode::usage, "column scales", fmt::format("matrices of {} and {} columns", cols, matrix.cols),
                "matrices that share an input");
  }
  const auto stripes = stripes_of(matrices);
  const auto size = static_cast<size_t>(cols);
  // In fp64 the squares of all finite floats and their quotients are in range.
  std::vector<double> v(size, 1.0), log_t(size, 0.0);
  std::vector<std::vector<double>> sums(stripes.size());
  std::vector<bool> zero(size, true);
  for (int round = 0; round < kRounds; ++round) {
    parallel_for(static_cast<int64_t>(stripes.size()), [&](int64_t s) {
      sums[s].assign(size, 0.0);
      add_stripe(stripes[s], round > 0, v, sums[s].data());
    });
    for (size_t k = 0; k < size; ++k) {
      double sum = 0;
      for (const auto& part : sums) sum += part[k];
      zero[k] = !(sum > 0);
      v[k] = zero[k] ? 1 : 1 / sum;
      log_t[k] = 0.5 * std::log(zero[k] ? 1 : sum);
    }
  }
  auto t = rounded(log_t, zero);
  if (overflows(stripes, t)) t.assign(size, 1.0f);
  return t;
}

NormalizedMatrix normalize_matrix(MatrixView matrix, Normalize normalize) {
  NormalizedMatrix result;
  result.view = matrix;
  if (normalize == Normalize::none) return result;
  result.scales = column_scales({&matrix, 1});
  result.divided.resize(static_cast<size_t>(matrix.size()));
  parallel_for(matrix.rows, [&](int64_t r) {
    const float* from = matrix.data + r * matrix.cols;
    float* to = result.divided.data() + r * matrix.cols;
    for (int64_t k = 0; k < matrix.cols; ++k) to[k] = from[k] / result.scales[static_cast<size_t>(k)];
  });
  result.view.data = result.divided.data();
  return result;
}

std::vector<std::byte> stored_column_scales(std::span<const float> scales) {
  std::vector<std::byte> bytes(scales.size() * sizeof(uint16_t));
  for (size_t k = 0; k < scales.size(); ++k) {
    const uint16_t half = f16_from_f32(scales[k]);
    std::memcpy(bytes.data() + k * sizeof half, &half, sizeof half);
  }
  return bytes;
}

}  // namespace mxq
