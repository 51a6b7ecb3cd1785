// What linear attention forwards and backwards have in common: walks over tokens and heads, and what single numbers go
// through.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "model/runner/cpu/delta_rule.h"
#include "model/runner/cpu/linear_attention.h"
#include "model/runner/cpu/numbers.h"

namespace mxq {

/// log(1 + exp(x)).
inline float softplus(float x) {
  return std::max(x, 0.0f) + std::log1p(std::exp(-std::abs(x)));
}

/// Calls body(piece, token of the piece, row) for all tokens, in parallel.
template <typename Body>
void for_each_token(std::span<const LinearPiece> pieces, Body body) {
  std::vector<std::pair<const LinearPiece*, int64_t>> tokens;
  for (const LinearPiece& piece : pieces) {
    for (int64_t t = 0; t < piece.n; ++t) tokens.emplace_back(&piece, t);
  }
  parallel_for(std::ssize(tokens), [&](int64_t row) {
    const auto& [piece, t] = tokens[static_cast<size_t>(row)];
    body(*piece, t, row);
  });
}

/// Calls body(head, piece, the piece's first row, number of the value head) for all value heads, in parallel.
template <typename Body>
void for_each_head(const LinearAttention& shape, std::span<const LinearPiece> pieces, const LinearRows& rows,
                   Body body) {
  std::vector<int64_t> starts{0};
  for (const LinearPiece& piece : pieces) starts.push_back(starts.back() + piece.n);
  const int64_t heads = shape.value_heads;
  parallel_for(std::ssize(pieces) * heads, [&](int64_t task) {
    const auto at = static_cast<size_t>(task / heads);
    const int64_t h = task % heads, row = starts[at], key_head = h / (heads / shape.key_heads);
    const float* const q = rows.active.data() + row * shape.channels() + key_head * shape.key_dim;
    const DeltaHead head{.n = pieces[at].n,
                         .keys = shape.key_dim,
                         .values = shape.value_dim,
                         .row = shape.channels(),
                         .out_row = shape.values(),
                         .rate_row = heads,
                         .q = q,
                         .k = q + shape.keys(),
                         .v = rows.active.data() + row * shape.channels() + 2 * shape.keys() + h * shape.value_dim,
                         .decay = rows.decay.data() + row * heads + h,
                         .rate = rows.rate.data() + row * heads + h};
    body(head, pieces[at], row, h);
  });
}

/// x / sqrt(sum(x^2) + 1e-6) of each query and key of a row; queries by 1 / sqrt(key_dim) too. That is a root mean
/// square norm of equal weights.
class UnitNorms {
 public:
  explicit UnitNorms(const LinearAttention& shape)
      : keys_(shape.keys()),
        dim_(shape.key_dim),
        eps_(1e-6f / static_cast<float>(dim_)),
        of_key_(static_cast<size_t>(dim_), 1 / std::sqrt(static_cast<float>(dim_))),
        of_query_(static_cast<size_t>(dim_), 1 / static_cast<float>(dim_)) {}

  /// In place; whether all squares are finite.
  bool apply(float* row) const {
    bool finite = true;
    for (int64_t at = 0; at < 2 * keys_; at += dim_) {
      finite &= std::isfinite(rms_norm(row + at, weight(at), eps_, dim_, row + at));
    }
    return finite;
  }
  /// `gradient` with respect to what apply() made of `row` becomes that with respect to it.
  void apply_back(const float* row, float* gradient) const {
    std::vector<float> outer(static_cast<size_t>(dim_));
    for (int64_t at = 0; at < 2 * keys_; at += dim_) {
      std::copy_n(gradient + at, dim_, outer.data());
      std::fill_n(gradient + at, dim_, 0.0f);
      add_rms_norm_gradient(row + at, weight(at), eps_, outer.data(), dim_, gradient + at);
    }
  }

 private:
  const float* weight(int64_t at) const { return (at < keys_ ? of_query_ : of_key_).data(); }

  int64_t keys_, dim_;
  float eps_;
  std::vector<float> of_key_, of_query_;
};

}  // namespace mxq
