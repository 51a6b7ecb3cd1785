// The norm of a row, as an architecture has it, forwards and backwards.
#pragma once

#include <cstdint>

#include "model/arch/architecture.h"

namespace mxq {

struct RowNorm {
  Norm kind = Norm::rms;
  float eps = 0;

  /// out = norm(x) by `weight`, to which Norm::rms_plus_one's 1 has been added; returns the mean square, which is not
  /// finite where an x is not (rms_norm()). x and out may be the same.
  float apply(const float* x, const float* weight, int64_t n, float* out) const;
  /// gradient += that of apply() with respect to x, by `outer`, the gradient with respect to what it put out.
  void add_gradient(const float* x, const float* weight, const float* outer, int64_t n, float* gradient) const;
};

}  // namespace mxq
