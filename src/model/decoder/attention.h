// Causal self-attention of a window of tokens.
#pragma once

#include <cstdint>

namespace mxq {

struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  /// Tokens that a query sees, itself included; 0: all before it.
  int64_t window = 0;
};

/// out[n, heads * head_dim] = softmax(q k^T / sqrt(head_dim)) v, each token seeing itself and those before it.
/// q [n, heads * head_dim]; k and v [n, kv_heads * head_dim], each of whose heads serves heads / kv_heads query heads.
/// Parallel over heads and blocks of queries.
void causal_attention(const AttentionShape& shape, int64_t n, const float* q, const float* k, const float* v,
                      float* out);

}  // namespace mxq
