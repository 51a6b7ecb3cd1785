#include "model/runner/cpu/linear_attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "kernels/transpose.h"
#include "model/runner/cpu/delta_rule.h"
#include "model/runner/cpu/linear_rows.h"
#include "model/runner/cpu/numbers.h"

namespace mxq {

namespace {

/// What the convolution reads i tokens before the piece's first, i >= 1; null: nothing.
const float* before(const LinearPiece& piece, const LinearAttention& shape, int64_t i) {
  return piece.state == nullptr ? nullptr : piece.state->tail.data() + (shape.kernel - 1 - i) * shape.channels();
}

}  // namespace

void LinearRows::resize(const LinearAttention& shape, int64_t n) {
  for (auto* rows : {&mixed, &convolved, &active}) rows->resize(static_cast<size_t>(n * shape.channels()));
  for (auto* rows : {&z, &core, &heads}) rows->resize(static_cast<size_t>(n * shape.values()));
  for (auto* rows : {&b, &a, &rate, &decay}) rows->resize(static_cast<size_t>(n * shape.value_heads));
}

LinearState::LinearState(const LinearAttention& shape)
    : tail(floats((shape.kernel - 1) * shape.channels())), states(floats(shape.key_dim * shape.values())) {}

LinearLayer::LinearLayer(const LinearAttention& shape, float eps, const std::vector<float>& convolution,
                         std::vector<float> a_log, std::vector<float> dt_bias, std::vector<float> norm)
    : shape_(shape),
      eps_(eps),
      taps_(convolution.size()),
      a_log_(std::move(a_log)),
      dt_bias_(std::move(dt_bias)),
      norm_(std::move(norm)) {
  transpose(convolution.data(), shape.channels(), shape.kernel, taps_.data());
}

void LinearLayer::convolve(std::span<const LinearPiece> pieces, LinearRows& rows) const {
  const int64_t width = shape_.channels(), kept = shape_.kernel - 1;
  const std::vector<float> ones(static_cast<size_t>(width), 1.0f);
  for_each_token(pieces, [&](const LinearPiece& piece, int64_t t, int64_t row) {
    float* const to = rows.convolved.data() + row * width;
    std::fill_n(to, width, 0.0f);
    for (int64_t j = 0; j <= kept; ++j) {
      const int64_t back = kept - j;
      const float* const from = t >= back ? rows.mixed.data() + (row - back) * width : before(piece, shape_, back - t);
      const float* const taps = taps_.data() + j * width;
      for (int64_t c = 0; from != nullptr && c < width; ++c) to[c] += taps[c] * from[c];
    }
    float* const active = rows.active.data() + row * width;
    std::copy_n(to, width, active);
    silu_multiply(active, ones.data(), width);
  });
  int64_t row = 0;
  for (const LinearPiece& piece : pieces) {
    row += piece.n;
    if (piece.state == nullptr) continue;
    auto& tail = piece.state->tail;
    const int64_t fresh = std::min(piece.n, kept);
    std::copy(tail.begin() + fresh * width, tail.end(), tail.begin());
    std::copy_n(rows.mixed.begin() + (row - fresh) * width, fresh * width, tail.end() - fresh * width);
  }
}

bool LinearLayer::run(std::span<const LinearPiece> pieces, LinearRows& rows) const {
  convolve(pieces, rows);
  const int64_t heads = shape_.value_heads, width = shape_.value_dim;
  const UnitNorms norms(shape_);
  std::atomic<bool> finite{true};
  for_each_token(pieces, [&](const LinearPiece& /*piece*/, int64_t /*t*/, int64_t row) {
    if (!norms.apply(rows.active.data() + row * shape_.channels())) finite = false;
    for (int64_t i = row * heads; i < (row + 1) * heads; ++i) {
      const auto at = static_cast<size_t>(i), head = static_cast<size_t>(i - row * heads);
      rows.rate[at] = sigmoid(rows.b[at]);
      rows.decay[at] = std::exp(-std::exp(a_log_[head]) * softplus(rows.a[at] + dt_bias_[head]));
    }
  });
  for_each_head(shape_, pieces, rows, [&](const DeltaHead& head, const LinearPiece& piece, int64_t row, int64_t h) {
    const int64_t size = shape_.key_dim * width;
    auto empty = floats(piece.state == nullptr ? size : 0);
    head.run(piece.state == nullptr ? empty.data() : piece.state->states.data() + h * size,
             rows.core.data() + row * shape_.values() + h * width);
  });
  for_each_token(pieces, [&](const LinearPiece& /*piece*/, int64_t /*t*/, int64_t row) {
    auto normed = floats(width);
    for (int64_t at = row * heads * width; at < (row + 1) * heads * width; at += width) {
      if (!std::isfinite(rms_norm(rows.core.data() + at, norm_.data(), eps_, width, normed.data()))) finite = false;
      std::copy_n(rows.z.data() + at, width, rows.heads.data() + at);
      silu_multiply(rows.heads.data() + at, normed.data(), width);
    }
  });
  return finite;
}

}  // namespace mxq
