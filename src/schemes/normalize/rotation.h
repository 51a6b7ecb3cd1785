// A rotation of a matrix's columns before it is quantized.
#pragma once

#include <cstdint>
#include <vector>

namespace mxq {

/// R = diag(s) Hd / sqrt(b), orthogonal: signs s that depend on the number of columns alone, then the Walsh-Hadamard
/// transform of each block of b columns, b the largest power of two that divides their number. W R has the squared
/// norms of W's rows, but its values within a block are nearly normal: no outliers (QuIP#, arXiv 2402.04396; QuaRot,
/// arXiv 2404.00456).
class Rotation {
 public:
  explicit Rotation(int64_t cols);

  int64_t block() const { return block_; }
  /// row := row R.
  void apply(float* row) const;
  /// row := row R^T, which undoes apply() up to rounding.
  void undo(float* row) const;

 private:
  int64_t cols_, block_;
  std::vector<float> signs_;  // over sqrt(b)
};

}  // namespace mxq
