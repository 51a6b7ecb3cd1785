// The second moments of a matrix's inputs, factored for error feedback.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "schemes/groups/blocks.h"

namespace mxq {

struct GptqOptions {
  /// Share of the mean diagonal of H that is added to its diagonal; doubled until H is positive definite in fp32.
  double damping = 0.01;
  /// Share by which correlations between inputs are taken for smaller than the moments have them: every entry of H off
  /// its diagonal is multiplied by 1 - shrinkage (Ledoit & Wolf 2004, towards the diagonal). 0 to 1.
  double shrinkage = 0;
  /// 0: columns are coded from left to right. Else group after group of so many columns, the group with the largest
  /// diagonal of H first, and within each by falling diagonal; a short last group stays the last. This is GPTQ's
  /// act-order for groups that stay where they are (Gafni et al., "Dual Precision Quantization", arXiv 2505.14638).
  int64_t ordered_groups = 0;
  /// Of affine schemes: how a group's scale and zero are found, from the weights as they stand when its first column is
  /// coded.
  enum class Grid {
    least_squares,  // weighted by what errors cost
    range,          // the range of the weights and 0; the zero is one of the codes (Frantar et al.'s quant.py)
    symmetric,      // twice the largest magnitude; the zero is the code 2^(bits - 1)
  };
  Grid grid = Grid::least_squares;
  /// How often all columns are coded once more after the first time, each given all others (coordinate descent). What
  /// is kept of groups stays.
  int sweeps = 0;
  /// false: only the diagonal of H counts, as if the inputs were uncorrelated. What is left of GPTQ is a fit of least
  /// squares weighted by the inputs' second moments.
  bool feedback = true;
};

/// H = M D M^T with M unit upper triangular and D diagonal, of the damped H in the order in which columns are coded.
///
/// GPTQ adds to the columns j after i  -(w_i - q_i) / U_ii * U_ij  with w_i as updated and U^T U = H^-1, U upper. As
/// M^-1 = diag(U)^-1 U, that is the same as adding (W_i - q_i) M_ij with the matrix's own W_i (the form of LDLQ: Chee
/// et al., "QuIP", arXiv 2307.13304, theorem 6), which needs no inverse.
class FeedbackFactor {
 public:
  /// See quantize_matrix_gptq for second_moments and errors. O(cols^3 / 3), in matrix products; all cores where there
  /// are many columns.
  FeedbackFactor(std::span<const float> second_moments, int64_t cols, const GptqOptions& options = {});

  /// That of diag(t) H diag(t), of the inputs t_k x_k; a t for each column, positive.
  FeedbackFactor scaled(std::span<const float> t) const;

  /// That of R^T diag(t) H diag(t) R, of the inputs t_k x_k rotated (rotation.h), in an order of their own. O(cols^3).
  FeedbackFactor rotated(std::span<const float> t) const;

  /// Multiplies rows by the inverse of the damped (and shrunk) H over its mean diagonal: x becomes x H^-1, [rows,
  /// cols], columns as they lie in the matrix. O(rows cols^2), in matrix products.
  void solve(float* x, int64_t rows) const;
  /// The mean diagonal of H as it was given.
  double mean_diagonal() const { return mean_; }

  int64_t cols() const { return cols_; }
  /// GptqOptions::ordered_groups.
  int64_t ordered_groups() const { return ordered_groups_; }
  GptqOptions::Grid grid() const { return grid_; }
  /// GptqOptions::sweeps; 0 without feedback.
  int sweeps() const { return sweeps_; }
  /// order()[i]: the column that is coded as the i-th.
  std::span<const int32_t> order() const { return order_; }
  /// [cols, cols]: entry [j][i] with i < j is M_ij; the others are those of H (moments()).
  const float* coefficients() const { return data_.get(); }
  /// Rows [first, first + count) of the damped (and shrunk) H over its mean diagonal, in coding order: [count, cols].
  void moments(int64_t first, int64_t count, float* out) const;
  /// D over the mean diagonal: what a squared error of the i-th column costs when the columns after it make up for it.
  std::span<const float> pivots() const { return pivots_; }
  /// The damping that was needed.
  double damping() const { return damping_; }

 private:
  void fill(std::span<const float> second_moments, double mean, double shrinkage);
  bool factor();

  FeedbackFactor() = default;
  int64_t cols_ = 0;
  int64_t ordered_groups_ = 0;
  bool feedback_ = true;
  int sweeps_ = 0;
  GptqOptions::Grid grid_ = GptqOptions::Grid::least_squares;
  double damping_ = 0, mean_ = 1;
  std::vector<int32_t> order_;
  groups::AlignedFloats data_;
  std::vector<float> pivots_;
};

/// Calls body(begin, end) for chunks of `chunk` rows, in parallel. Always more than one call, the last ones perhaps
/// empty (begin == end): so products of matrices within run on one thread, and their bits do not depend on how many
/// there are.
void for_row_chunks(int64_t rows, int64_t chunk, const std::function<void(int64_t begin, int64_t end)>& body);

}  // namespace mxq
