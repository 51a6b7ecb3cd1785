// Causal self-attention.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/matmul.h"
#include "model/runner/cpu/head_rows.h"

namespace mxq {

struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  /// Tokens that a query sees, itself included; 0: all before it.
  int64_t window = 0;
  float scale = 1;  // of q k^T
  float cap = 0;    // soft cap of that; 0: none
  /// A score of each head that takes its part of the softmax and has no value; null: none.
  const float* sinks = nullptr;
};

/// The last n of the tokens of a sequence ask, those before them (past) are only seen.
struct AttentionInput {
  int64_t n = 0, past = 0;
  const float* q = nullptr;  // [n, heads * head_dim]
  // Of all past + n tokens: rows [past + n, kv_heads * head_dim], or those that a cache keeps.
  const float *keys = nullptr, *values = nullptr;
  const HeadRows *kept_keys = nullptr, *kept_values = nullptr;
  float* out = nullptr;  // [n, heads * head_dim]
};

/// out = softmax(cap * tanh(scale * q k^T / cap), sink) v for every sequence, each token seeing itself and those before
/// it, each KV head serving heads / kv_heads query heads. Long inputs are multiplied as `compute` says, a few tokens in
/// fp32, with keys and values as they are kept. Kept ones are in what `compute` says. Parallel over sequences, KV heads
/// and blocks of queries.
void causal_attention(const AttentionShape& shape, Compute compute, std::span<const AttentionInput> sequences);

}  // namespace mxq
