#include "model/runner/cpu/moments.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/half.h"
#include "base/parallel.h"
#include "kernels/matmul.h"
#include "kernels/transpose.h"

namespace mxq {

namespace {

constexpr int64_t kBlock = 96;   // rows of the moments that a task makes
constexpr int64_t kRows = 2048;  // of the operand, transposed at a time

float as_float(float x) {
  return x;
}
float as_float(uint16_t x) {
  return f32_from_bf16(x);
}

/// c[m, n] = a[m, k] * b[n, k]^T, all dense.
void product(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  matmul_transposed(m, n, k, a, k, b, k, c, n);
}
void product(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c) {
  matmul_transposed(m, n, k, a, b, c, n);
}

/// Adds `factor` times x^T x to the upper triangle of sums, and times the sums of |x| to magnitudes, x [n, width].
template <typename T>
void add_moments(const T* x, int64_t n, int64_t width, float factor, std::vector<float>& sums,
                 std::vector<float>& magnitudes) {
  std::vector<T> columns(static_cast<size_t>(n * width));
  transpose(x, n, width, columns.data());
  parallel_for(width, [&](int64_t c) {
    double sum = 0;
    for (int64_t r = 0; r < n; ++r) sum += std::fabs(as_float(columns[c * n + r]));
    magnitudes[c] += factor * static_cast<float>(sum);
  });
  const int64_t blocks = (width + kBlock - 1) / kBlock;
  const auto add_block = [&](int64_t block) {
    const int64_t begin = block * kBlock, rows = std::min(kBlock, width - begin), cols = width - begin;
    std::vector<float> products(static_cast<size_t>(rows * cols));
    product(rows, cols, n, columns.data() + begin * n, columns.data() + begin * n, products.data());
    for (int64_t r = 0; r < rows; ++r) {
      float* to = sums.data() + (begin + r) * width + begin;
      for (int64_t c = r; c < cols; ++c) to[c] += factor * products[r * cols + c];
    }
  };
  // The first blocks are the longest: each task does a long and a short one. Never one task alone, for a product
  // outside of a parallel loop would be divided among threads.
  parallel_for(std::max<int64_t>(2, (blocks + 1) / 2), [&](int64_t task) {
    const int64_t other = blocks - 1 - task;
    if (task <= other) add_block(task);
    if (task < other) add_block(other);
  });
}

}  // namespace

SecondMoments second_moments(const Operand& rows) {
  const int64_t width = rows.width();
  SecondMoments moments{width, rows.rows(), std::vector<float>(static_cast<size_t>(width * width)),
                        std::vector<float>(static_cast<size_t>(width))};
  if (rows.rows() == 0) return moments;
  const auto per_row = 1 / static_cast<float>(rows.rows());
  for (int64_t first = 0; first < rows.rows(); first += kRows) {
    const int64_t n = std::min(kRows, rows.rows() - first), offset = first * width;
    if (rows.compute() == Compute::f32) {
      add_moments(rows.f32() + offset, n, width, per_row, moments.values, moments.mean_magnitudes);
    } else {
      add_moments(rows.bf16() + offset, n, width, per_row, moments.values, moments.mean_magnitudes);
    }
  }
  return moments;
}

}  // namespace mxq
