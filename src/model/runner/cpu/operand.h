// Rows of activations as matrix products take them.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/matmul.h"

namespace mxq {

/// rows x width values, fp32 or rounded to bf16.
class Operand {
 public:
  explicit Operand(Compute compute = Compute::f32) : compute_(compute) {}

  /// Room for the rows; what they held is lost.
  void resize(int64_t rows, int64_t width);
  /// Row i = values[0, width). Rows may be set in parallel.
  void set_row(int64_t i, const float* values);
  /// All rows, in parallel.
  void set(const float* values, int64_t rows, int64_t width);

  Compute compute() const { return compute_; }
  int64_t rows() const { return rows_; }
  int64_t width() const { return width_; }
  /// The one that compute() says.
  const float* f32() const { return f32_.data(); }
  std::vector<float> take_f32() && { return std::move(f32_); }
  const uint16_t* bf16() const { return bf16_.data(); }

 private:
  Compute compute_;
  int64_t rows_ = 0, width_ = 0;
  std::vector<float> f32_;
  std::vector<uint16_t> bf16_;
};

}  // namespace mxq
