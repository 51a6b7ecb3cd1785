// Inner loops of the gated delta rule: what a token does to the state of a head, a matrix [keys, values] that gives a
// value for a key (Yang, Kautz and Hatamizadeh 2024, arXiv 2412.06464).
#pragma once

#include <cstdint>

namespace mxq {

/// What a token brings to a head.
struct DeltaToken {
  const float *key, *query;  // [keys]
  const float* value;        // [values]
  float decay, rate;         // of the state; of what is put right
};

/// Gradients with respect to what a token brings.
struct DeltaTokenGradient {
  float *key, *query;  // [keys]
  float* value;        // [values]
  float decay = 0, rate = 0;
};

#define MXQ_DELTA_STATE_KERNELS                                                                                       \
  /* state *= decay; error = value - state^T key; state += rate * key error^T; out = state^T query. error and out     \
     are [values]. Without fused multiply and add: the `_ref` twin gives the same bits. */                            \
  void delta_step(float* state, int64_t keys, int64_t values, const DeltaToken& token, float* error, float* out);     \
  /* Of a step from `state`, as it was before it, in which `error` came about. `outer` [values] is the gradient with  \
     respect to out. `gradient` [keys, values], with respect to the state behind the step, becomes that before it;    \
     those of the token are written to `of_token`. */                                                                 \
  void delta_step_back(const float* state, int64_t keys, int64_t values, const DeltaToken& token, const float* error, \
                       const float* outer, float* gradient, DeltaTokenGradient& of_token);

MXQ_DELTA_STATE_KERNELS

namespace ref {
MXQ_DELTA_STATE_KERNELS
}

}  // namespace mxq
