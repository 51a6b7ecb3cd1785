#include "kernels/matmul.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <dnnl.hpp>
#include <map>
#include <string>
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

using dnnl::memory;

dnnl::matmul::primitive_desc describe_bf16(int64_t m, int64_t n, int64_t k, const memory::desc& b) {
  const memory::desc a({m, k}, memory::data_type::bf16, memory::format_tag::ab);
  const memory::desc c({m, n}, memory::data_type::f32, memory::format_tag::ab);
  return {dnnl::matmul::desc(a, b, c), engine()};
}

memory::desc bf16_weights(int64_t n, int64_t k, memory::format_tag order) {
  return {{k, n}, memory::data_type::bf16, order};
}

struct Product {
  dnnl::matmul matmul;
  memory::desc a, b, c;
};

enum class Order { transposed, plain, blocked };

/// The product of this shape. A thread keeps those that it has made: oneDNN's own cache costs several microseconds a
/// look, which small products feel.
const Product& bf16_product(int64_t m, int64_t n, int64_t k, Order order, const memory::desc& b) {
  constexpr size_t most = 512;
  using Shape = std::array<int64_t, 5>;
  static thread_local std::map<Shape, Product> made;
  // oneDNN divides the work when it makes a product, so one made in a parallel loop is another.
  const Shape shape{m, n, k, static_cast<int64_t>(order), omp_in_parallel() ? 1 : omp_get_max_threads()};
  if (const auto found = made.find(shape); found != made.end()) return found->second;
  if (made.size() >= most) made.clear();
  const auto description = describe_bf16(m, n, k, b);
  return made
      .emplace(shape, Product{dnnl::matmul(description), description.src_desc(), description.weights_desc(),
                              description.dst_desc()})
      .first->second;
}

void execute(const Product& product, const uint16_t* a, const memory& b, float* c) {
  dnnl::stream stream(engine());
  product.matmul.execute(stream, {{DNNL_ARG_SRC, memory(product.a, engine(), const_cast<uint16_t*>(a))},
                                  {DNNL_ARG_WEIGHTS, b},
                                  {DNNL_ARG_DST, memory(product.c, engine(), c)}});
  stream.wait();
}

void multiply_bf16(int64_t m, int64_t n, int64_t k, Order order, const uint16_t* a, const uint16_t* b, float* c) {
  if (m == 0 || n == 0) return;
  try {
    const auto tag = order == Order::transposed ? memory::format_tag::ba : memory::format_tag::ab;
    const Product& product = bf16_product(m, n, k, order, bf16_weights(n, k, tag));
    execute(product, a, memory(product.b, engine(), const_cast<uint16_t*>(b)), c);
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
  if (ldc == n) return multiply_bf16(m, n, k, Order::transposed, a, b, c);
  // oneDNN's AMX kernel writes dense results only; its other one takes twice as long.
  std::vector<float> dense(static_cast<size_t>(m * n));
  multiply_bf16(m, n, k, Order::transposed, a, b, dense.data());
  parallel_for(m, [&](int64_t i) { std::copy_n(dense.data() + i * n, n, c + i * ldc); });
}

void matmul(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c) {
  multiply_bf16(m, n, k, Order::plain, a, b, c);
}

struct Bf16Weights::State {
  int64_t n = 0, k = 0;
  memory weights;
};

Bf16Weights::Bf16Weights(int64_t n, int64_t k, const uint16_t* b) : state_(std::make_unique<State>()) {
  constexpr int64_t rows = 1024;  // the order does not depend on the rows of a
  try {
    const memory plain(bf16_weights(n, k, memory::format_tag::ba), engine(), const_cast<uint16_t*>(b));
    const auto best = describe_bf16(rows, n, k, bf16_weights(n, k, memory::format_tag::any)).weights_desc();
    *state_ = {n, k, memory(best, engine())};
    dnnl::stream stream(engine());
    dnnl::reorder(plain, state_->weights).execute(stream, const_cast<memory&>(plain), state_->weights);
    stream.wait();
  } catch (const dnnl::error& e) {
    fail(rows, n, k, e.status);
  }
}

Bf16Weights::~Bf16Weights() = default;
Bf16Weights::Bf16Weights(Bf16Weights&&) noexcept = default;
Bf16Weights& Bf16Weights::operator=(Bf16Weights&&) noexcept = default;

void Bf16Weights::multiply(int64_t m, const uint16_t* a, float* c) const {
  if (m == 0) return;
  try {
    execute(bf16_product(m, state_->n, state_->k, Order::blocked, state_->weights.get_desc()), a, state_->weights, c);
  } catch (const dnnl::error& e) {
    fail(m, state_->n, state_->k, e.status);
  }
}

int64_t Bf16Weights::bytes() const {
  return static_cast<int64_t>(state_->weights.get_desc().get_size());
}

Compute best_compute() {
  return bf16_matmul_supported() ? Compute::bf16 : Compute::f32;
}

std::string_view compute_name(Compute compute) {
  return compute == Compute::bf16 ? "bf16" : "f32";
}

bool bf16_matmul_supported() {
  static const bool supported = [] {
    try {
      const auto product = describe_bf16(16, 16, 16, bf16_weights(16, 16, memory::format_tag::ba));
      return product.impl_info_str() != std::string("ref:any");
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return supported;
}

}  // namespace mxq
