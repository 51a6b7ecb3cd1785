// Gradients of attention.
#pragma once

#include <cstdint>

namespace mxq {

/// One KV head of one sequence and the query heads that share it. Pointers are to the first token's; tokens are q_row
/// or kv_row floats apart.
struct HeadGroup {
  int64_t n, group, dim, window;
  int64_t q_row, kv_row;
  float scale, cap;
  const float* sinks;                            // of the query heads; null: none
  const float *q, *keys, *values, *out, *outer;  // outer: the gradient with respect to out
  float *d_q, *d_k, *d_v;                        // of the keys' and values': added to

  void run() const;
};

}  // namespace mxq
