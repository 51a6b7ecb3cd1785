#include "kernels/matmul.h"

#include <dnnl.h>
#include <fmt/format.h>

#include "mxq/error.h"

namespace mxq {

namespace {

void check(dnnl_status_t status, int64_t m, int64_t n, int64_t k) {
  if (status == dnnl_success) return;
  throw Error(ErrorCode::unsupported, "multiply matrices",
              fmt::format("{} x {} x {} (oneDNN status {})", m, n, k, static_cast<int>(status)));
}

}  // namespace

void matmul_transposed(int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda, const float* b,
                       int64_t ldb, float* c, int64_t ldc) {
  check(dnnl_sgemm('N', 'T', m, n, k, alpha, a, lda, b, ldb, 0, c, ldc), m, n, k);
}

void matmul(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc) {
  check(dnnl_sgemm('N', 'N', m, n, k, 1, a, lda, b, ldb, 0, c, ldc), m, n, k);
}

}  // namespace mxq
