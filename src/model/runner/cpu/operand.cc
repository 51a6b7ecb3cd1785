#include "model/runner/cpu/operand.h"

#include <algorithm>

#include "base/parallel.h"
#include "kernels/rows.h"

namespace mxq {

void Operand::resize(int64_t rows, int64_t width) {
  rows_ = rows;
  width_ = width;
  const auto size = static_cast<size_t>(rows * width);
  if (compute_ == Compute::f32) {
    f32_.resize(size);
  } else {
    bf16_.resize(size);
  }
}

void Operand::set_row(int64_t i, const float* values) {
  if (compute_ == Compute::f32) {
    std::copy_n(values, width_, f32_.data() + i * width_);
  } else {
    to_bf16(values, width_, bf16_.data() + i * width_);
  }
}

void Operand::set(const float* values, int64_t rows, int64_t width) {
  resize(rows, width);
  parallel_for(rows, [&](int64_t i) { set_row(i, values + i * width); });
}

}  // namespace mxq
