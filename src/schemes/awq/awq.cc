#include "schemes/awq/awq.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "kernels/matmul.h"
#include "mxq/error.h"
#include "schemes/affine/affine.h"
#include "schemes/feedback/gptq.h"

namespace mxq {

namespace {

constexpr int kScaleSteps = 20;
constexpr int kClipSteps = 10;
/// Of each step, in the largest magnitude.
constexpr float kClipStep = 0.05f;
/// Channels that are hardly used.
constexpr float kSmallestScale = 1e-4f;

void check(MatrixView matrix, size_t magnitudes, size_t moments) {
  const auto cols = static_cast<size_t>(matrix.cols);
  if (magnitudes != cols || moments != cols * cols) {
    throw Error(ErrorCode::usage, "scale channels by activations",
                fmt::format("{} magnitudes and {} second moments for {} columns", magnitudes, moments, cols),
                "columns and columns x columns");
  }
}

std::vector<float> scales_of(std::span<const float> magnitudes, double exponent) {
  std::vector<float> scales;
  for (const float x : magnitudes) {
    scales.push_back(std::max(static_cast<float>(std::pow(double{x}, exponent)), kSmallestScale));
  }
  const auto [least, most] = std::minmax_element(scales.begin(), scales.end());
  const float norm = std::sqrt(*least) * std::sqrt(*most);
  for (float& s : scales) s /= norm;
  return scales;
}

/// That of the power of two next below the largest magnitude.
int unit_exponent(MatrixView matrix) {
  float largest = 0;
  for (int64_t i = 0; i < matrix.size(); ++i) largest = std::max(largest, std::fabs(matrix.data[i]));
  return largest > 0 && std::isfinite(largest) ? std::ilogb(largest) : 0;
}

double scaled_error(const AwqMatrix& matrix, std::span<const float> scales, std::span<const float> scaled_moments,
                    Metadata metadata) {
  const int64_t cols = matrix.weights.cols;
  std::vector<float> scaled(static_cast<size_t>(matrix.weights.size()));
  parallel_for(matrix.weights.rows, [&](int64_t r) {
    for (int64_t k = 0; k < cols; ++k) scaled[r * cols + k] = matrix.weights.data[r * cols + k] * scales[k];
  });
  const MatrixView view{scaled.data(), matrix.weights.rows, cols};
  return output_error(view, quantize_matrix(view, matrix.scheme, {Fit::rtn, 1, metadata}).view(), scaled_moments);
}

}  // namespace

std::vector<float> awq_scales(std::span<const AwqMatrix> matrices, std::span<const float> mean_magnitudes,
                              std::span<const float> second_moments, Metadata metadata) {
  const auto cols = static_cast<int64_t>(mean_magnitudes.size());
  for (size_t k = 0; k < mean_magnitudes.size(); ++k) {
    if (!std::isfinite(mean_magnitudes[k])) {
      throw Error(ErrorCode::not_finite, "scale channels by activations",
                  fmt::format("a mean magnitude of {} at column {}", mean_magnitudes[k], k), "finite activations");
    }
  }
  std::vector<float> best(mean_magnitudes.size(), 1.0f), moments(second_moments.size());
  double least = INFINITY;
  for (int step = 0; step < kScaleSteps; ++step) {
    const auto scales = step == 0 ? best : scales_of(mean_magnitudes, static_cast<double>(step) / kScaleSteps);
    parallel_for(cols, [&](int64_t i) {
      for (int64_t j = 0; j < cols; ++j) moments[i * cols + j] = second_moments[i * cols + j] / (scales[i] * scales[j]);
    });
    double error = 0;
    for (const AwqMatrix& matrix : matrices) {
      check(matrix.weights, mean_magnitudes.size(), second_moments.size());
      if (matrix.scheme.family != affine_family().name()) continue;
      error += scaled_error(matrix, scales, moments, metadata);
    }
    if (error < least) {
      least = error;
      best = scales;
    }
  }
  return best;
}

void awq_clip(const AwqMatrix& matrix, std::span<const float> second_moments, float* weights) {
  const int64_t rows = matrix.weights.rows, cols = matrix.weights.cols;
  check(matrix.weights, static_cast<size_t>(cols), second_moments.size());
  // By a power of two, so that nothing is rounded: rtn's arithmetic, which is hqq's, tells no ranges below 1e-4 apart.
  const int exponent = unit_exponent(matrix.weights);
  std::vector<float> data(matrix.weights.data, matrix.weights.data + matrix.weights.size());
  for (float& w : data) w = std::ldexp(w, -exponent);
  const int64_t size = matrix.scheme.group, per_row = (cols + size - 1) / size;
  std::vector<float> largest(static_cast<size_t>(rows * per_row));
  const auto for_groups = [&](const auto& body) {
    parallel_for(rows, [&](int64_t r) {
      for (int64_t g = 0; g < per_row; ++g) {
        body(r, g, r * cols + g * size, std::min(size, cols - g * size));
      }
    });
  };
  for_groups([&](int64_t r, int64_t g, int64_t first, int64_t n) {
    for (int64_t i = first; i < first + n; ++i) {
      largest[r * per_row + g] = std::max(largest[r * per_row + g], std::fabs(data[i]));
    }
  });
  std::vector<float> clipped(static_cast<size_t>(rows * cols)), back(clipped.size()), products(clipped.size());
  std::vector<float> ratio(largest.size(), 1.0f);
  std::vector<double> least(largest.size(), INFINITY);
  const auto clip = [&](auto ratio_of, float* to) {
    for_groups([&](int64_t r, int64_t g, int64_t first, int64_t n) {
      const float limit = largest[r * per_row + g] * ratio_of(r * per_row + g);
      for (int64_t i = first; i < first + n; ++i) to[i] = std::clamp(data[i], -limit, limit);
    });
  };
  for (int step = 0; step < kClipSteps; ++step) {
    const float share = 1 - kClipStep * static_cast<float>(step);
    clip([share](int64_t) { return share; }, clipped.data());
    // Without 8-bit metadata, so that each group is judged alone.
    const QuantizedMatrix quantized =
        quantize_matrix({clipped.data(), rows, cols}, matrix.scheme, {Fit::rtn, 1, Metadata::f32});
    dequantize_matrix(quantized.view(), back.data());
    for (size_t i = 0; i < back.size(); ++i) back[i] -= data[i];
    for_row_chunks(rows, 64, [&](int64_t begin, int64_t end) {
      for (int64_t first = 0; begin < end && first < cols; first += size) {
        const int64_t n = std::min(size, cols - first);
        matmul(end - begin, n, n, back.data() + begin * cols + first, cols,
               second_moments.data() + first * cols + first, cols, products.data() + begin * cols + first, cols);
      }
    });
    for_groups([&](int64_t r, int64_t g, int64_t first, int64_t n) {
      double error = 0;
      for (int64_t i = first; i < first + n; ++i) error += double{back[i]} * double{products[i]};
      if (!(error < least[r * per_row + g])) return;
      least[r * per_row + g] = error;
      ratio[r * per_row + g] = share;
    });
  }
  clip([&](int64_t group) { return ratio[group]; }, weights);
  for (int64_t i = 0; i < rows * cols; ++i) weights[i] = std::ldexp(weights[i], exponent);
}

}  // namespace mxq
