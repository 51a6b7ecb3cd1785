// Matrix products (oneDNN). Row-major; ld* is the distance between rows. All accumulate in fp32.
#pragma once

#include <cstdint>
#include <memory>

#include "mxq/run_options.h"

namespace mxq {

/// c[m, n] = a[m, k] * b[n, k]^T. Parallel, unless called from inside a parallel loop; the same bits whatever the
/// number of threads, and whatever OpenMP's and oneDNN's variables in the environment say. Throws Error(unsupported)
/// for extents that oneDNN refuses.
void matmul_transposed(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
                       float* c, int64_t ldc);

/// c[m, n] = a[m, k] * b[k, n]. Likewise.
void matmul(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc);

/// The same of bf16 operands (the upper 16 bits of floats), which must be dense: lda and ldb are k, of `matmul` n.
/// Throws Error(unsupported) where the processor has no AVX-512.
void matmul_transposed(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c, int64_t ldc);
void matmul(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c);

/// bf16 weights b[n, k] in the order that products with them read fastest on this processor.
class Bf16Weights {
 public:
  /// Throws Error(unsupported) as above.
  Bf16Weights(int64_t n, int64_t k, const uint16_t* b);
  ~Bf16Weights();
  Bf16Weights(Bf16Weights&&) noexcept;
  Bf16Weights& operator=(Bf16Weights&&) noexcept;

  /// c[m, n] = a[m, k] * b^T. Parallel.
  void multiply(int64_t m, const uint16_t* a, float* c) const;
  int64_t bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// True where products of bf16 operands can be had.
bool bf16_matmul_supported();

}  // namespace mxq
