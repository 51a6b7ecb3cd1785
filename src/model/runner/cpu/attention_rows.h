// Rows of attention scores: which keys each of them may look at, forwards and backwards.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/rows.h"

namespace mxq {

/// Rows of scores (queries times the heads that share keys) at a time: against 1,024 keys they stay in a core's cache,
/// and what they take grows with the sequence, not with its square.
inline constexpr int64_t kBlockRows = 384;

/// Scores [rows, keys] of queries that follow one another; row t * group + g is query head g of the t-th of them.
struct ScoreRows {
  int64_t rows = 0, group = 0;
  int64_t position = 0;          // of the first query
  int64_t from = 0;              // the first key's
  int64_t window = 0;            // tokens that a query sees, itself included; 0: all before it
  const float* sinks = nullptr;  // of each head of the group; null: none

  /// Calls body(row, begin, end) for the keys that each row may look at, counted from `from`.
  template <typename Body>
  void for_each(Body body) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t end = position + r / group + 1 - from;
      body(r, window > 0 ? std::max<int64_t>(0, end - window) : 0, end);
    }
  }

  /// What the row's sink adds to sum(exp(scale * (score - max))) of the scores [n] that it may look at.
  float of_sink(int64_t r, const float* scores, int64_t n, float scale) const {
    if (sinks == nullptr) return 0;
    return std::exp(sinks[r % group] - scale * *std::max_element(scores, scores + n));
  }

  /// Of scale * scores, beside the sinks, in place; 0 where a row may not look.
  void softmax_visible(float scale, int64_t keys, float* scores) const {
    for_each([&](int64_t r, int64_t begin, int64_t end) {
      float* const row = scores + r * keys;
      std::fill(row, row + begin, 0.0f);
      const float sink = of_sink(r, row + begin, end - begin, scale);
      softmax(row + begin, scale, end - begin);
      if (sinks != nullptr) {
        // The largest is 1 / sum.
        const float part = 1 / (1 + sink * *std::max_element(row + begin, row + end));
        std::for_each(row + begin, row + end, [part](float& p) { p *= part; });
      }
      std::fill(row + end, row + keys, 0.0f);
    });
  }
};

}  // namespace mxq
