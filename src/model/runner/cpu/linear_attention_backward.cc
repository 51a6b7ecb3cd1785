// Gradients of linear attention.
#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "model/runner/cpu/delta_rule.h"
#include "model/runner/cpu/gated_slopes.h"
#include "model/runner/cpu/linear_attention.h"
#include "model/runner/cpu/linear_rows.h"

namespace mxq {

void LinearLayer::run_back(std::span<const LinearPiece> pieces, const LinearRows& rows, const std::vector<float>& outer,
                           LinearRows& gradient) const {
  const int64_t heads = shape_.value_heads, width = shape_.value_dim, all = shape_.values();
  const int64_t n = std::ssize(outer) / all;
  gradient.resize(shape_, n);
  // The gated norm.
  std::vector<float> normed(outer.size()), of_normed = outer;
  for_each_token(pieces, [&](const LinearPiece& /*piece*/, int64_t /*t*/, int64_t row) {
    for (int64_t at = row * all; at < (row + 1) * all; at += width) {
      rms_norm(rows.core.data() + at, norm_.data(), eps_, width, normed.data() + at);
    }
  });
  gradient.z = GatedSlopes(Activation::silu, rows.z, normed, all).through(of_normed);
  std::fill(gradient.core.begin(), gradient.core.end(), 0.0f);
  for_each_token(pieces, [&](const LinearPiece& /*piece*/, int64_t /*t*/, int64_t row) {
    for (int64_t at = row * all; at < (row + 1) * all; at += width) {
      add_rms_norm_gradient(rows.core.data() + at, norm_.data(), eps_, of_normed.data() + at, width,
                            gradient.core.data() + at);
    }
  });
  // The delta rule; value heads that share a key head add up.
  std::vector<DeltaHeadGradient> of_heads(pieces.size() * static_cast<size_t>(heads));
  for_each_head(shape_, pieces, rows, [&](const DeltaHead& head, const LinearPiece& piece, int64_t row, int64_t h) {
    DeltaHeadGradient& of_head = of_heads[static_cast<size_t>((&piece - pieces.data()) * heads + h)];
    of_head.v = gradient.active.data() + row * shape_.channels() + 2 * shape_.keys() + h * width;
    of_head.decay = gradient.decay.data() + row * heads + h;
    of_head.rate = gradient.rate.data() + row * heads + h;
    delta_rule_back(head, gradient.core.data() + row * all + h * width, of_head);
  });
  for_each_token(pieces, [&](const LinearPiece& piece, int64_t t, int64_t row) {
    const int64_t dim = shape_.key_dim, group = heads / shape_.key_heads;
    float* const q = gradient.active.data() + row * shape_.channels();
    std::fill_n(q, 2 * shape_.keys(), 0.0f);
    for (int64_t h = 0; h < heads; ++h) {
      const auto& of_head = of_heads[static_cast<size_t>((&piece - pieces.data()) * heads + h)];
      add(q + h / group * dim, of_head.q.data() + t * dim, dim);
      add(q + shape_.keys() + h / group * dim, of_head.k.data() + t * dim, dim);
    }
    for (int64_t h = 0; h < heads; ++h) {
      const auto at = static_cast<size_t>(row * heads + h), head = static_cast<size_t>(h);
      gradient.b[at] = gradient.rate[at] * rows.rate[at] * (1 - rows.rate[at]);
      gradient.a[at] =
          -gradient.decay[at] * rows.decay[at] * std::exp(a_log_[head]) * sigmoid(rows.a[at] + dt_bias_[head]);
    }
  });
  convolve_back(pieces, rows, gradient);
}

void LinearLayer::convolve_back(std::span<const LinearPiece> pieces, const LinearRows& rows,
                                LinearRows& gradient) const {
  const int64_t width = shape_.channels(), kept = shape_.kernel - 1;
  const UnitNorms norms(shape_);
  const std::vector<float> ones(static_cast<size_t>(width), 1.0f);
  for_each_token(pieces, [&](const LinearPiece& /*piece*/, int64_t /*t*/, int64_t row) {
    const float* const convolved = rows.convolved.data() + row * width;
    std::vector<float> active(convolved, convolved + width);
    silu_multiply(active.data(), ones.data(), width);
    float* const inner = gradient.active.data() + row * width;
    norms.apply_back(active.data(), inner);
    for (int64_t c = 0; c < width; ++c) {
      const float s = sigmoid(convolved[c]);
      gradient.convolved[static_cast<size_t>(row * width + c)] = inner[c] * s * (1 + convolved[c] * (1 - s));
    }
  });
  for_each_token(pieces, [&](const LinearPiece& piece, int64_t t, int64_t row) {
    float* const to = gradient.mixed.data() + row * width;
    std::fill_n(to, width, 0.0f);
    for (int64_t ahead = 0; ahead <= kept && t + ahead < piece.n; ++ahead) {
      const float* const from = gradient.convolved.data() + (row + ahead) * width;
      const float* const taps = taps_.data() + (kept - ahead) * width;
      for (int64_t c = 0; c < width; ++c) to[c] += taps[c] * from[c];
    }
  });
}

}  // namespace mxq
