#include "model/runner/cpu/row_norm.h"

#include <vector>

#include "kernels/rows.h"

namespace mxq {

float RowNorm::apply(const float* x, const float* weight, int64_t n, float* out) const {
  if (kind == Norm::layer) {
    center(x, n, out);
    x = out;
  }
  return rms_norm(x, weight, eps, n, out);
}

void RowNorm::add_gradient(const float* x, const float* weight, const float* outer, int64_t n, float* gradient) const {
  if (kind != Norm::layer) return add_rms_norm_gradient(x, weight, eps, outer, n, gradient);
  std::vector<float> centered(static_cast<size_t>(n)), inner(static_cast<size_t>(n));
  center(x, n, centered.data());
  add_rms_norm_gradient(centered.data(), weight, eps, outer, n, inner.data());
  center(inner.data(), n, inner.data());
  add(gradient, inner.data(), n);
}

}  // namespace mxq
