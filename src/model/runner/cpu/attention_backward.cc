#include "model/runner/cpu/attention_backward.h"

#include <algorithm>
#include <vector>

#include "kernels/matmul.h"
#include "kernels/rows.h"
#include "kernels/transpose.h"
#include "model/runner/cpu/attention_rows.h"
#include "model/runner/cpu/numbers.h"

namespace mxq {

namespace {

/// Of some queries at a time.
struct Blocks : HeadGroup {
  /// The queries' rows of `count` tokens, dense: row t * group + g is query head g of token t.
  std::vector<float> gather(const float* of, int64_t first, int64_t count) const {
    auto to = floats(count * group * dim);
    for (int64_t t = 0; t < count; ++t) {
      std::copy_n(of + (first + t) * q_row, group * dim, to.data() + t * group * dim);
    }
    return to;
  }

  /// to [width, dim] += scores^T [width, rows] x [rows, dim].
  void add_up(const std::vector<float>& scores, int64_t rows, int64_t width, const std::vector<float>& x,
              float* to) const {
    auto turned = floats(rows * width), sums = floats(width * dim);
    transpose(scores.data(), rows, width, turned.data());
    matmul(width, dim, rows, turned.data(), rows, x.data(), dim, sums.data(), dim);
    for (int64_t i = 0; i < width; ++i) add(to + i * kv_row, sums.data() + i * dim, dim);
  }

  /// Queries [first, first + count) against keys [from, from + width). With o = p v, p = softmax(scale q k^T):
  /// dv = p^T do, ds = p (do v^T - sum(do o)), dq = scale ds k, dk = scale ds^T q. Capped scores have slopes of their
  /// own; a sink, whose value is 0, takes part in p alone.
  void run_block(int64_t first, int64_t count, int64_t from, int64_t width) const {
    const int64_t rows = count * group, kv_at = from * kv_row;
    const auto queries = gather(q, first, count), o = gather(out, first, count), d_o = gather(outer, first, count);
    auto p = floats(rows * width), change = floats(rows * width);
    matmul_transposed(rows, width, dim, queries.data(), dim, keys + kv_at, kv_row, p.data(), width);
    // What a score changes by with q k^T.
    std::vector<float> slopes;
    if (cap > 0) {
      soft_cap(p.data(), scale, cap, rows * width);
      for (const float z : p) slopes.push_back(scale * (1 - z / cap * (z / cap)));
    }
    ScoreRows{rows, group, first, from, window, sinks}.softmax_visible(cap > 0 ? 1 : scale, width, p.data());
    add_up(p, rows, width, d_o, d_v + kv_at);
    matmul_transposed(rows, width, dim, d_o.data(), dim, values + kv_at, kv_row, change.data(), width);
    for (int64_t r = 0; r < rows; ++r) {
      const float mean = dot(d_o.data() + r * dim, o.data() + r * dim, dim);
      for (int64_t i = r * width; i < (r + 1) * width; ++i) {
        p[i] *= (slopes.empty() ? scale : slopes[static_cast<size_t>(i)]) * (change[i] - mean);
      }
    }
    add_up(p, rows, width, queries, d_k + kv_at);
    auto mixed = floats(rows * dim);
    matmul(rows, dim, width, p.data(), width, keys + kv_at, kv_row, mixed.data(), dim);
    for (int64_t t = 0; t < count; ++t) {
      std::copy_n(mixed.data() + t * group * dim, group * dim, d_q + (first + t) * q_row);
    }
  }
};

}  // namespace

void HeadGroup::run() const {
  const Blocks blocks{*this};
  const int64_t tokens = std::max<int64_t>(1, kBlockRows / group);
  for (int64_t first = 0; first < n; first += tokens) {
    const int64_t from = window > 0 ? std::max<int64_t>(0, first - window + 1) : 0;
    const int64_t end = std::min(n, first + tokens);
    blocks.run_block(first, end - first, from, end - from);
  }
}

}  // namespace mxq
