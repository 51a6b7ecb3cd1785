// Products of a few rows, which attention has while a model writes: one token's queries and all keys before it.
#pragma once

#include <cstdint>

namespace mxq {

#define MXQ_FEW_ROWS_KERNELS(T)                                                                                        \
  /* scores[m, n] = q[m, k] keys[n, k]^T. Rows of keys are `stride` apart, the others dense. In one thread; each score \
     is the same whatever m and n are. */                                                                              \
  void few_rows_scores(int64_t m, int64_t n, int64_t k, const float* q, const T* keys, int64_t stride, float* scores); \
  /* out[m, k] = weights[m, n] values[n, k]. Rows of values are `stride` apart, the others dense. Likewise. */         \
  void few_rows_mix(int64_t m, int64_t n, int64_t k, const float* weights, const T* values, int64_t stride, float* out);

// Keys and values are floats, or bf16 (the upper 16 bits of floats). Sums are in fp32.
MXQ_FEW_ROWS_KERNELS(float)
MXQ_FEW_ROWS_KERNELS(uint16_t)

namespace ref {
MXQ_FEW_ROWS_KERNELS(float)
MXQ_FEW_ROWS_KERNELS(uint16_t)
}  // namespace ref

}  // namespace mxq
