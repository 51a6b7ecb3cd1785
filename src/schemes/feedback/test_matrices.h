// Matrices and second moments that the tests of GPTQ share.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "mxq/quantized_matrix.h"

namespace mxq {

inline constexpr unsigned kSeed = 11;

struct Matrix {
  std::vector<float> data;
  int64_t rows, cols;
  MatrixView view() const { return {data.data(), rows, cols}; }
};

inline Matrix gaussian(int64_t rows, int64_t cols, std::mt19937& random, float sigma = 0.02f) {
  std::normal_distribution<float> normal(0, sigma);
  Matrix m{std::vector<float>(static_cast<size_t>(rows * cols)), rows, cols};
  for (float& w : m.data) w = normal(random);
  return m;
}

/// Mean of x x^T over samples whose entries are correlated and of sizes that differ by a factor of some tens.
inline std::vector<float> correlated(int64_t cols, int64_t samples, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::vector<double> sizes(static_cast<size_t>(cols)), sum(static_cast<size_t>(cols * cols));
  for (double& s : sizes) s = std::exp(0.7 * normal(random));
  std::vector<double> x(sizes.size());
  for (int64_t n = 0; n < samples; ++n) {
    double common = normal(random);
    for (int64_t c = 0; c < cols; ++c) {
      common = 0.9 * common + 0.45 * normal(random);  // neighbours are alike
      x[c] = sizes[c] * (common + 0.2 * normal(random) + 0.3);
    }
    for (int64_t i = 0; i < cols; ++i) {
      for (int64_t j = 0; j < cols; ++j) sum[i * cols + j] += x[i] * x[j] / static_cast<double>(samples);
    }
  }
  return {sum.begin(), sum.end()};
}

inline std::vector<float> identity(int64_t cols) {
  std::vector<float> h(static_cast<size_t>(cols * cols));
  for (int64_t c = 0; c < cols; ++c) h[c * cols + c] = 1;
  return h;
}

/// tr((W - Q) H (W - Q)^T), term by term.
inline double error_by_definition(const Matrix& m, const QuantizedMatrix& q, const std::vector<float>& h) {
  std::vector<float> back(m.data.size());
  dequantize_matrix(q.view(), back.data());
  const int64_t n = m.cols;
  double sum = 0;
  for (int64_t r = 0; r < m.rows; ++r) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        sum += (double{m.data[r * n + i]} - back[r * n + i]) * h[i * n + j] *
               (double{m.data[r * n + j]} - back[r * n + j]);
      }
    }
  }
  return sum;
}

}  // namespace mxq
