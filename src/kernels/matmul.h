// Matrix products (oneDNN). Row-major; ld* is the distance between rows. All accumulate in fp32.
#pragma once

#include <cstdint>

#include "mxq/run_options.h"

namespace mxq {

/// c[m, n] = a[m, k] * b[n, k]^T. Parallel, unless called from inside a parallel loop.
/// Throws Error(unsupported) for extents that oneDNN refuses.
void matmul_transposed(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
                       float* c, int64_t ldc);

/// c[m, n] = a[m, k] * b[k, n]. Likewise.
void matmul(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc);

/// The same of bf16 operands (the upper 16 bits of floats), which must be dense: lda and ldb are k, of `matmul` n.
/// Throws Error(unsupported) where the processor has no AVX-512.
void matmul_transposed(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c, int64_t ldc);
void matmul(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c);

/// True where products of bf16 operands can be had.
bool bf16_matmul_supported();

}  // namespace mxq
