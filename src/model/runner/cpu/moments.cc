#include "model/runner/cpu/moments.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
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

void scale(float* x, const float* by, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] *= by[i];
}
void scale(uint16_t* x, const float* by, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = bf16_from_f32(f32_from_bf16(x[i]) * by[i]);
}

/// The columns of n rows, each of n values, times `roots` where there are any.
template <typename T>
std::vector<T> columns_of(const T* x, int64_t n, int64_t width, std::span<const float> roots) {
  std::vector<T> columns(static_cast<size_t>(n * width));
  transpose(x, n, width, columns.data());
  if (!roots.empty()) parallel_for(width, [&](int64_t c) { scale(columns.data() + c * n, roots.data(), n); });
  return columns;
}

template <typename T>
void add_magnitudes(const T* x, int64_t n, int64_t width, float factor, std::vector<float>& magnitudes) {
  constexpr int64_t kColumns = 64;
  parallel_for((width + kColumns - 1) / kColumns, [&](int64_t task) {
    const int64_t first = task * kColumns, count = std::min(kColumns, width - first);
    double sums[kColumns] = {};
    for (int64_t r = 0; r < n; ++r) {
      const T* const row = x + r * width + first;
      for (int64_t c = 0; c < count; ++c) sums[c] += std::fabs(as_float(row[c]));
    }
    for (int64_t c = 0; c < count; ++c) magnitudes[first + c] += factor * static_cast<float>(sums[c]);
  });
}

/// Adds `factor` times y^T x to sums [width, width], of columns of n values: all of it, or the upper triangle.
template <typename T>
void add_products(const std::vector<T>& y, const std::vector<T>& x, int64_t n, int64_t width, bool upper, float factor,
                  std::vector<float>& sums) {
  const int64_t blocks = (width + kBlock - 1) / kBlock;
  const auto add_block = [&](int64_t block) {
    const int64_t begin = block * kBlock, rows = std::min(kBlock, width - begin), first = upper ? begin : 0;
    const int64_t cols = width - first;
    std::vector<float> products(static_cast<size_t>(rows * cols));
    product(rows, cols, n, y.data() + begin * n, x.data() + first * n, products.data());
    for (int64_t r = 0; r < rows; ++r) {
      float* to = sums.data() + (begin + r) * width + first;
      for (int64_t c = upper ? r : 0; c < cols; ++c) to[c] += factor * products[r * cols + c];
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

/// body(values of kRows rows at a time, how many, the first one's number) of the one that compute() says.
template <typename Body>
void for_pieces(const Operand& rows, const Body& body) {
  for (int64_t first = 0; first < rows.rows(); first += kRows) {
    const int64_t n = std::min(kRows, rows.rows() - first), offset = first * rows.width();
    if (rows.compute() == Compute::f32) {
      body(rows.f32() + offset, n, first);
    } else {
      body(rows.bf16() + offset, n, first);
    }
  }
}

/// The values of `other` that stand where `rows` has `at`.
template <typename T>
const T* beside(const Operand& rows, const Operand& other, const T* at) {
  if constexpr (std::is_same_v<T, float>) {
    return other.f32() + (at - rows.f32());
  } else {
    return other.bf16() + (at - rows.bf16());
  }
}

std::vector<float> roots_of(std::span<const float> weights) {
  std::vector<float> roots(weights.size());
  std::transform(weights.begin(), weights.end(), roots.begin(), [](float w) { return std::sqrt(w); });
  return roots;
}

std::span<const float> piece(const std::vector<float>& roots, int64_t first, int64_t n) {
  if (roots.empty()) return {};
  return std::span(roots).subspan(static_cast<size_t>(first), static_cast<size_t>(n));
}

}  // namespace

SecondMoments second_moments(const Operand& rows, std::span<const float> weights) {
  const int64_t width = rows.width();
  SecondMoments moments{width,
                        rows.rows(),
                        std::vector<float>(static_cast<size_t>(width * width)),
                        std::vector<float>(static_cast<size_t>(width)),
                        {}};
  const auto per_row = 1 / static_cast<float>(std::max<int64_t>(1, rows.rows()));
  const auto roots = roots_of(weights);
  for_pieces(rows, [&](const auto* x, int64_t n, int64_t first) {
    const auto columns = columns_of(x, n, width, piece(roots, first, n));
    add_products(columns, columns, n, width, true, per_row, moments.values);
    add_magnitudes(x, n, width, per_row, moments.mean_magnitudes);
  });
  return moments;
}

std::vector<float> cross_moments(const Operand& rows, const Operand& other, std::span<const float> weights) {
  const int64_t width = rows.width();
  std::vector<float> sums(static_cast<size_t>(width * width));
  const auto per_row = 1 / static_cast<float>(std::max<int64_t>(1, rows.rows()));
  const auto roots = roots_of(weights);
  for_pieces(rows, [&](const auto* x, int64_t n, int64_t first) {
    const auto of_rows = piece(roots, first, n);
    add_products(columns_of(beside(rows, other, x), n, width, of_rows), columns_of(x, n, width, of_rows), n, width,
                 false, per_row, sums);
  });
  return sums;
}

}  // namespace mxq
