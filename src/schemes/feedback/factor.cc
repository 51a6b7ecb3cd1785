#include "schemes/feedback/factor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/parallel.h"
#include "kernels/matmul.h"
#include "mxq/error.h"
#include "schemes/normalize/rotation.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "quantize matrix by GPTQ";

/// Columns that are factored at a time, and rows that a task does of them.
constexpr int64_t kBlock = 64;
constexpr int64_t kRows = 64;
/// Up to this many columns one thread factors: the blocks' barriers cost more than a second thread gains.
constexpr int64_t kColumnsOfOneThread = 2048;
/// A pivot below this share of its diagonal is mostly rounding error.
constexpr double kSmallestPivot = 1e-6;
/// First damping above 0 that is tried where less fails, and how often it is doubled at most (to 100 mean diagonals).
constexpr double kLeastDamping = 1e-4;
constexpr int kDoublings = 20;

void check_moments(std::span<const float> moments, int64_t cols) {
  // Compared by division: cols * cols may overflow.
  const auto size = static_cast<int64_t>(moments.size());
  if (cols < 0 || (cols == 0 ? size != 0 : size % cols != 0 || size / cols != cols)) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("{} second moments for {} columns", size, cols),
                "columns x columns");
  }
  std::vector<int64_t> bad(static_cast<size_t>(cols), cols);
  parallel_for(cols, [&](int64_t r) {
    const float* row = moments.data() + r * cols;
    float sum = 0;  // of zeros, and of NaN where a value is not finite
    for (int64_t c = 0; c < cols; ++c) sum += row[c] * 0.0f;
    if (sum == 0.0f) return;
    bad[r] = std::find_if(row, row + cols, [](float x) { return !std::isfinite(x); }) - row;
  });
  for (int64_t r = 0; r < cols; ++r) {
    if (bad[r] == cols) continue;
    throw Error(ErrorCode::not_finite, kOperation,
                fmt::format("second moment {} at row {}, column {}", moments[r * cols + bad[r]], r, bad[r]),
                "finite second moments");
  }
}

/// See GptqOptions::ordered_groups.
std::vector<int32_t> column_order(std::span<const float> moments, int64_t cols, int64_t group) {
  std::vector<int32_t> order(static_cast<size_t>(cols));
  std::iota(order.begin(), order.end(), 0);
  if (group == 0) return order;
  const auto diagonal = [&](int64_t c) { return moments[c * cols + c]; };
  for (int64_t first = 0; first < cols; first += group) {
    std::stable_sort(order.begin() + first, order.begin() + std::min(cols, first + group),
                     [&](int32_t a, int32_t b) { return diagonal(a) > diagonal(b); });
  }
  std::vector<int64_t> groups(static_cast<size_t>(cols / group));
  std::iota(groups.begin(), groups.end(), int64_t{0});
  std::stable_sort(groups.begin(), groups.end(),
                   [&](int64_t a, int64_t b) { return diagonal(order[a * group]) > diagonal(order[b * group]); });
  std::vector<int32_t> result;
  for (const int64_t g : groups)
    result.insert(result.end(), order.begin() + g * group, order.begin() + (g + 1) * group);
  result.insert(result.end(), order.begin() + static_cast<int64_t>(groups.size()) * group, order.end());
  return result;
}

/// A block of the diagonal, in fp64: the lower triangle of its factor, transposed, and that one's inverse.
struct DiagonalBlock {
  double lower[kBlock * kBlock];
  double inverse[kBlock * kBlock];

  /// lower holds the lower triangle of a symmetric block S; becomes L with S = L^T L. False where a pivot is below
  /// `least` of its row.
  bool factor(int64_t n, const double* least) {
    for (int64_t j = n - 1; j >= 0; --j) {
      double* row = lower + j * kBlock;
      if (!(row[j] >= least[j]) || !std::isfinite(row[j])) return false;
      const double root = std::sqrt(row[j]), per_root = 1 / root;
      for (int64_t i = 0; i < j; ++i) row[i] *= per_root;
      row[j] = root;
      for (int64_t c = 0; c < j; ++c) {
        double* other = lower + c * kBlock;
        const double factor = row[c];
#pragma omp simd
        for (int64_t i = 0; i <= c; ++i) other[i] -= factor * row[i];
      }
    }
    return true;
  }

  void invert(int64_t n) {
    for (int64_t j = 0; j < n; ++j) {
      double* row = inverse + j * kBlock;
      std::fill_n(row, n, 0.0);
      row[j] = 1;
      for (int64_t k = 0; k < j; ++k) {
        const double factor = lower[j * kBlock + k];
        const double* other = inverse + k * kBlock;
#pragma omp simd
        for (int64_t i = 0; i <= k; ++i) row[i] -= factor * other[i];
      }
      const double per_pivot = 1 / lower[j * kBlock + j];
      for (int64_t i = 0; i <= j; ++i) row[i] *= per_pivot;
    }
  }
};

}  // namespace

void for_row_chunks(int64_t rows, int64_t chunk, const std::function<void(int64_t begin, int64_t end)>& body) {
  parallel_for(std::max<int64_t>(2, (rows + chunk - 1) / chunk),
               [&](int64_t i) { body(std::min(rows, i * chunk), std::min(rows, (i + 1) * chunk)); });
}

FeedbackFactor::FeedbackFactor(std::span<const float> second_moments, int64_t cols, const GptqOptions& options)
    : cols_(cols),
      ordered_groups_(options.ordered_groups),
      feedback_(options.feedback),
      sweeps_(options.feedback ? options.sweeps : 0),
      grid_(options.grid) {
  check_moments(second_moments, cols);
  if (!(options.damping >= 0) || !std::isfinite(options.damping)) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("damping {}", options.damping), "0 or more");
  }
  if (options.ordered_groups < 0) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("ordered groups of {}", options.ordered_groups), "0 or more");
  }
  if (!(options.shrinkage >= 0 && options.shrinkage <= 1)) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("shrinkage {}", options.shrinkage), "0 to 1");
  }
  if (options.sweeps < 0) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("{} sweeps", options.sweeps), "0 or more");
  }
  if (cols == 0) return;
  const auto diagonal = [&](int64_t c) { return second_moments[c * cols + c]; };
  order_ = column_order(second_moments, cols, ordered_groups_);
  double mean = 0;
  for (int64_t c = 0; c < cols; ++c) mean += std::fabs(diagonal(c)) / static_cast<double>(cols);
  if (mean == 0) mean = 1;
  mean_ = mean;

  data_ = groups::allocate_floats(cols * cols);
  pivots_.resize(static_cast<size_t>(cols));
  damping_ = options.damping;
  for (int tries = 0;; ++tries) {
    fill(second_moments, mean, options.shrinkage);
    bool done = false;
    if (cols <= kColumnsOfOneThread) {
      for_row_chunks(1, 1, [&](int64_t begin, int64_t end) {
        if (begin < end) done = factor();
      });
    } else {
      done = factor();
    }
    if (done) {
      fill(second_moments, mean, options.shrinkage);  // above M, where R was
      return;
    }
    if (tries == kDoublings) break;
    damping_ = std::max(2 * damping_, kLeastDamping);
  }
  throw Error(
      ErrorCode::not_finite, kOperation,
      fmt::format("second moments that are not positive definite with a damping of {} mean diagonals", damping_),
      "mean or sum of x x^T");
}

FeedbackFactor FeedbackFactor::scaled(std::span<const float> t) const {
  if (static_cast<int64_t>(t.size()) != cols_) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("{} column scales for {} columns", t.size(), cols_),
                "one each");
  }
  FeedbackFactor result;
  result.cols_ = cols_;
  result.ordered_groups_ = ordered_groups_;
  result.feedback_ = feedback_;
  result.sweeps_ = sweeps_;
  result.grid_ = grid_;
  result.damping_ = damping_;
  result.mean_ = mean_;
  result.order_ = order_;
  result.pivots_ = pivots_;
  result.data_ = groups::allocate_floats(cols_ * cols_);
  // With T = diag(t): T M D M^T T = (T M T^-1) (T D T) (T M T^-1)^T.
  std::vector<float> s(t.size());
  for (int64_t i = 0; i < cols_; ++i) s[i] = t[order_[i]];
  parallel_for(cols_, [&](int64_t j) {
    const float* from = data_.get() + j * cols_;
    float* to = result.data_.get() + j * cols_;
    const float per = 1 / s[j];
    for (int64_t i = 0; i < j; ++i) to[i] = from[i] * s[i] * per;
    for (int64_t i = j; i < cols_; ++i) to[i] = from[i] * s[i] * s[j];
    result.pivots_[j] *= s[j] * s[j];
  });
  return result;
}

void FeedbackFactor::moments(int64_t first, int64_t count, float* out) const {
  const float* const h = data_.get();
  for (int64_t i = 0; i < first; ++i) {
    for (int64_t r = 0; r < count; ++r) out[r * cols_ + i] = h[i * cols_ + first + r];
  }
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t i = first; i < first + r; ++i) out[r * cols_ + i] = h[i * cols_ + first + r];
    std::copy_n(h + (first + r) * cols_ + first + r, cols_ - first - r, out + r * cols_ + first + r);
  }
}

// Block of columns by block: with Z M D = Y, first Y M^T = X from the last column on, then Z from the first one on.
void FeedbackFactor::solve(float* x, int64_t rows) const {
  const float* const m = data_.get();  // [j][i], i < j: M_ij
  for_row_chunks(rows, kRows, [&](int64_t begin, int64_t end) {
    const int64_t n = end - begin;
    if (n == 0) return;
    std::vector<float> y(static_cast<size_t>(n * cols_)), products(y.size());
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t i = 0; i < cols_; ++i) y[r * cols_ + i] = x[(begin + r) * cols_ + order_[i]];
    }
    const int64_t blocks = (cols_ + kBlock - 1) / kBlock;
    for (int64_t b = blocks - 1; b >= 0; --b) {
      const int64_t first = b * kBlock, stop = std::min(cols_, first + kBlock);
      for (int64_t r = 0; r < n; ++r) {
        float* const row = y.data() + r * cols_ + first;
        for (int64_t i = stop - first - 1; i > 0; --i) {
          const float* const of = m + (first + i) * cols_ + first;
          const float value = row[i];
#pragma omp simd
          for (int64_t j = 0; j < i; ++j) row[j] -= value * of[j];
        }
      }
      if (first == 0) break;
      matmul(n, first, stop - first, y.data() + first, cols_, m + first * cols_, cols_, products.data(), cols_);
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t j = 0; j < first; ++j) y[r * cols_ + j] -= products[r * cols_ + j];
      }
    }
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t i = 0; i < cols_; ++i) y[r * cols_ + i] /= pivots_[i];
    }
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t first = b * kBlock, stop = std::min(cols_, first + kBlock);
      if (first > 0) {
        matmul_transposed(n, stop - first, first, y.data(), cols_, m + first * cols_, cols_, products.data(), kBlock);
      }
      const int64_t size = stop - first;
      float turned[kBlock * kBlock];  // of the diagonal block: [i][j] is M_ij
      for (int64_t j = 0; j < size; ++j) {
        for (int64_t i = 0; i < j; ++i) turned[i * kBlock + j] = m[(first + j) * cols_ + first + i];
      }
      for (int64_t r = 0; r < n; ++r) {
        float* const row = y.data() + r * cols_ + first;
        for (int64_t j = 0; j < size && first > 0; ++j) row[j] -= products[r * kBlock + j];
        for (int64_t i = 0; i < size; ++i) {
          const float* const of = turned + i * kBlock;
          const float value = row[i];
#pragma omp simd
          for (int64_t j = i + 1; j < size; ++j) row[j] -= value * of[j];
        }
      }
    }
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t i = 0; i < cols_; ++i) x[(begin + r) * cols_ + order_[i]] = y[r * cols_ + i];
    }
  });
}

// With L = M sqrt(D): the products of the rows of R^T L.
FeedbackFactor FeedbackFactor::rotated(std::span<const float> t) const {
  const FeedbackFactor s = scaled(t);
  const Rotation rotation(cols_);
  std::vector<float> columns(static_cast<size_t>(cols_ * cols_)), rows(columns.size()), moments(columns.size());
  parallel_for(cols_, [&](int64_t j) {  // L's columns, one after another, their rows from left to right
    float* column = columns.data() + j * cols_;
    const float root = std::sqrt(s.pivots_[j]);
    for (int64_t i = 0; i < j; ++i) column[order_[i]] = s.data_.get()[j * cols_ + i] * root;
    column[order_[j]] = root;
    rotation.apply(column);
  });
  parallel_for(cols_, [&](int64_t i) {
    for (int64_t j = 0; j < cols_; ++j) rows[i * cols_ + j] = columns[j * cols_ + i];
  });
  for_row_chunks(cols_, kRows, [&](int64_t begin, int64_t end) {
    if (begin == end) return;
    matmul_transposed(end - begin, cols_ - begin, cols_, rows.data() + begin * cols_, cols_,
                      rows.data() + begin * cols_, cols_, moments.data() + begin * cols_ + begin, cols_);
  });
  GptqOptions options;
  options.damping = 0;  // it is in H
  options.ordered_groups = ordered_groups_;
  options.feedback = feedback_;
  options.sweeps = sweeps_;
  options.grid = grid_;
  return FeedbackFactor(moments, cols_, options);
}

// The damped H over its mean diagonal, into the upper triangle.
void FeedbackFactor::fill(std::span<const float> second_moments, double mean, double shrinkage) {
  const double per_mean = 1 / mean, kept = (1 - shrinkage) * per_mean;
  const auto dead = [&](int64_t column) { return second_moments[column * cols_ + column] == 0; };
  parallel_for(cols_, [&](int64_t r) {
    const int64_t row = order_[r];
    float* out = data_.get() + r * cols_;
    for (int64_t c = r + 1; c < cols_; ++c) {
      const int64_t column = order_[c], upper = std::min(row, column), left = std::max(row, column);
      const double h = !feedback_ || dead(row) || dead(column) ? 0.0 : second_moments[upper * cols_ + left];
      out[c] = static_cast<float>(h * kept);
    }
    const double damped = second_moments[row * cols_ + row] * per_mean + damping_;
    out[r] = static_cast<float>(damped == 0 ? 1.0 : damped);
  });
}

// Blocks of columns from the last to the first: with R = M sqrt(D), H = R R^T, and of the columns J
//   R_JJ R_JJ^T = H_JJ - R_JA R_JA^T  and  R_IJ = (H_IJ - R_IA R_JA^T) R_JJ^-T  for the rows I above, A = all after J.
// R takes the place of H's upper triangle; M, transposed, goes to the lower one.
bool FeedbackFactor::factor() {
  float* a = data_.get();
  const groups::AlignedFloats sums = groups::allocate_floats(cols_ * kBlock);
  const auto block = std::make_unique<DiagonalBlock>();
  std::vector<float> inverse(kBlock * kBlock);
  const int64_t blocks = (cols_ + kBlock - 1) / kBlock;
  for (int64_t b = blocks - 1; b >= 0; --b) {
    const int64_t first = b * kBlock, end = std::min(cols_, first + kBlock), n = end - first, after = cols_ - end;
    // sums = H - R R^T of the rows begin..stop.
    const auto subtract = [&](int64_t begin, int64_t stop) {
      if (after > 0) {
        matmul_transposed(stop - begin, n, after, a + begin * cols_ + end, cols_, a + first * cols_ + end, cols_,
                          sums.get() + begin * kBlock, kBlock);
      }
      for (int64_t r = begin; r < stop; ++r) {
        float* out = sums.get() + r * kBlock;
        const float* h = a + r * cols_ + first;
        for (int64_t c = std::max<int64_t>(0, r - first); c < n; ++c) out[c] = after > 0 ? h[c] - out[c] : h[c];
      }
    };
    for_row_chunks(n, kBlock / 2, [&](int64_t begin, int64_t stop) {
      if (begin < stop) subtract(first + begin, first + stop);
    });
    double least[kBlock];
    for (int64_t j = 0; j < n; ++j) {
      least[j] = kSmallestPivot * a[(first + j) * cols_ + first + j];
      for (int64_t i = 0; i <= j; ++i) block->lower[j * kBlock + i] = sums[(first + i) * kBlock + j];
    }
    if (!block->factor(n, least)) return false;
    block->invert(n);
    float per_pivot[kBlock];
    for (int64_t j = 0; j < n; ++j) {
      const double root = block->lower[j * kBlock + j];
      pivots_[first + j] = static_cast<float>(root * root);
      per_pivot[j] = static_cast<float>(1 / root);
      for (int64_t i = 0; i < n; ++i) inverse[j * kBlock + i] = static_cast<float>(block->inverse[j * kBlock + i]);
      for (int64_t i = 0; i <= j; ++i) {
        const double r = block->lower[j * kBlock + i];
        a[(first + i) * cols_ + first + j] = static_cast<float>(r);
        if (i < j) a[(first + j) * cols_ + first + i] = static_cast<float>(r / root);
      }
      std::fill(inverse.begin() + j * kBlock + j + 1, inverse.begin() + j * kBlock + n, 0.0f);
    }
    for_row_chunks(first, kRows, [&](int64_t begin, int64_t stop) {
      if (begin == stop) return;
      subtract(begin, stop);
      matmul(stop - begin, n, n, sums.get() + begin * kBlock, kBlock, inverse.data(), kBlock, a + begin * cols_ + first,
             cols_);
      for (int64_t j = 0; j < n; ++j) {
        float* out = a + (first + j) * cols_;
        const float* column = a + first + j;
        for (int64_t r = begin; r < stop; ++r) out[r] = column[r * cols_] * per_pivot[j];
      }
    });
  }
  return true;
}

}  // namespace mxq
