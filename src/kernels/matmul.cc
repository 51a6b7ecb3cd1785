#include "kernels/matmul.h"

#include <fmt/format.h>

#include <algorithm>
#include <dnnl.hpp>
#include <vector>

#include "base/parallel.h"
#include "mxq/error.h"

namespace mxq {

namespace {

[[noreturn]] void fail(int64_t m, int64_t n, int64_t k, dnnl_status_t status) {
  throw Error(ErrorCode::unsupported, "multiply matrices",
              fmt::format("{} x {} x {} (oneDNN status {})", m, n, k, static_cast<int>(status)));
}

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

// oneDNN keeps the primitives it made, by their shape: making one again takes 3 microseconds.
dnnl::matmul::primitive_desc bf16_product(int64_t m, int64_t n, int64_t k, bool transposed) {
  using dnnl::memory;
  const memory::desc a({m, k}, memory::data_type::bf16, memory::format_tag::ab);
  const memory::desc b({k, n}, memory::data_type::bf16, transposed ? memory::format_tag::ba : memory::format_tag::ab);
  const memory::desc c({m, n}, memory::data_type::f32, memory::format_tag::ab);
  return {dnnl::matmul::desc(a, b, c), engine()};
}

void multiply_bf16(int64_t m, int64_t n, int64_t k, bool transposed, const uint16_t* a, const uint16_t* b, float* c) {
  if (m == 0 || n == 0) return;
  try {
    const auto description = bf16_product(m, n, k, transposed);
    dnnl::stream stream(engine());
    const auto operand = [](const dnnl::memory::desc& desc, const void* data) {
      return dnnl::memory(desc, engine(), const_cast<void*>(data));
    };
    dnnl::matmul(description)
        .execute(stream, {{DNNL_ARG_SRC, operand(description.src_desc(), a)},
                          {DNNL_ARG_WEIGHTS, operand(description.weights_desc(), b)},
                          {DNNL_ARG_DST, operand(description.dst_desc(), c)}});
    stream.wait();
  } catch (const dnnl::error& e) {
    fail(m, n, k, e.status);
  }
}

}  // namespace

void matmul_transposed(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
                       float* c, int64_t ldc) {
  const auto status = dnnl_sgemm('N', 'T', m, n, k, 1, a, lda, b, ldb, 0, c, ldc);
  if (status != dnnl_success) fail(m, n, k, status);
}

void matmul(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc) {
  const auto status = dnnl_sgemm('N', 'N', m, n, k, 1, a, lda, b, ldb, 0, c, ldc);
  if (status != dnnl_success) fail(m, n, k, status);
}

void matmul_transposed(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c, int64_t ldc) {
  if (ldc == n) return multiply_bf16(m, n, k, true, a, b, c);
  // oneDNN's AMX kernel writes dense results only; its other one takes twice as long.
  std::vector<float> dense(static_cast<size_t>(m * n));
  multiply_bf16(m, n, k, true, a, b, dense.data());
  parallel_for(m, [&](int64_t i) { std::copy_n(dense.data() + i * n, n, c + i * ldc); });
}

void matmul(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c) {
  multiply_bf16(m, n, k, false, a, b, c);
}

bool bf16_matmul_supported() {
  static const bool supported = [] {
    try {
      return bf16_product(16, 16, 16, true).impl_info_str() != std::string("ref:any");
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return supported;
}

}  // namespace mxq
