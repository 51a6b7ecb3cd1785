// Matrix products in fp32 (oneDNN). Row-major; ld* is the distance between rows.
#pragma once

#include <cstdint>

namespace mxq {

/// c[m, n] = alpha * a[m, k] * b[n, k]^T. Parallel, unless called from inside a parallel loop.
/// Throws Error(unsupported) for extents that oneDNN refuses.
void matmul_transposed(int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda, const float* b,
                       int64_t ldb, float* c, int64_t ldc);

/// c[m, n] = a[m, k] * b[k, n]. Likewise.
void matmul(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc);

}  // namespace mxq
