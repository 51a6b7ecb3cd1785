// Products of a few rows, which attention has while a model writes: one token's queries and all keys before it.
#pragma once

#include <cstdint>

namespace mxq {

// Keys and values are floats, or bf16 (the upper 16 bits of floats; T: uint16_t). Sums are in fp32.
#define MXQ_FEW_ROWS_KERNELS                                                                                           \
  /* scores[m, n] = q[m, k] keys[n, k]^T. Rows of keys are `stride` apart, the others dense. In one thread; each score \
     is the same whatever m and n are. */                                                                              \
  template <typename T>                                                                                                \
  void few_rows_scores(int64_t m, int64_t n, int64_t k, const float* q, const T* keys, int64_t stride, float* scores); \
  /* out[m, k] = weights[m, n] values[n, k]. Rows of values are `stride` apart, the others dense. Likewise. */         \
  template <typename T>                                                                                                \
  void few_rows_mix(int64_t m, int64_t n, int64_t k, const float* weights, const T* values, int64_t stride,            \
                    float* out);

MXQ_FEW_ROWS_KERNELS

namespace ref {
MXQ_FEW_ROWS_KERNELS
}

}  // namespace mxq
