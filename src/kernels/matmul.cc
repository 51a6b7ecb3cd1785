#include "kernels/matmul.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <dnnl.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/named.h"
#include "base/parallel.h"
#include "mxq/error.h"

namespace mxq {

namespace {

[[noreturn]] void fail(int64_t m, int64_t n, int64_t k, dnnl_status_t status) {
  throw Error(ErrorCode::unsupported, "multiply matrices",
              fmt::format("{} x {} x {} (oneDNN status {})", m, n, k, static_cast<int>(status)));
}

/// What oneDNN would take from the environment, said before it looks there: results and output are mxq's own.
void settle_library() {
  static const bool settled = [] {
    dnnl_set_max_cpu_isa(dnnl_cpu_isa_all);
    dnnl_set_default_fpmath_mode(dnnl_fpmath_mode_strict);
    dnnl_set_verbose(0);
    return true;
  }();
  (void)settled;
}

const dnnl::engine& engine() {
  static const dnnl::engine cpu = [] {
    settle_library();
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return cpu;
}

/// While it lives, what the calling thread asks oneDNN for runs on that thread. oneDNN would divide a product by the
/// number of threads that it will ask OpenMP for, and leave parts of the result unwritten where it gets fewer
/// (OMP_THREAD_LIMIT, OMP_DYNAMIC, ...). One is always got.
class OneThread {
 public:
  OneThread() : threads_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(threads_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int threads_;
};

/// Products are cut into blocks of the result, by their shape alone, and each block is one thread's: no bit depends on
/// how many threads there are. Blocks of so many rows and columns are large enough that packing operands anew for each
/// is little beside multiplying them, and several for each core.
constexpr int64_t kBlockRows = 192, kBlockCols = 512, kLeastCols = 64, kEnoughBlocks = 32;
/// Multiplications that are not worth a second thread.
constexpr double kSmallProduct = 1 << 17;
/// Columns of bf16 weights that lie together, and the most parts of them: what a product of few rows is shared out by.
constexpr int64_t kPanelCols = 256, kMostPanels = 32;

/// Calls product(row, rows, col, cols) for all blocks of an m x n result, in parallel, each with one thread for oneDNN.
template <typename BlockProduct>
void for_each_block(int64_t m, int64_t n, int64_t block_rows, int64_t block_cols, const BlockProduct& product) {
  if (m == 0 || n == 0) return;
  settle_library();
  const int64_t down = (m + block_rows - 1) / block_rows, across = (n + block_cols - 1) / block_cols;
  parallel_for(down * across, [&](int64_t i) {
    const OneThread one;
    // Neighbours have the same rows.
    const int64_t row = i / across * block_rows, col = i % across * block_cols;
    product(row, std::min(block_rows, m - row), col, std::min(block_cols, n - col));
  });
}

/// The same, as one block where it is small.
template <typename BlockProduct>
void by_blocks(int64_t m, int64_t n, int64_t k, int64_t block_rows, int64_t block_cols, const BlockProduct& product) {
  const bool small = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) <= kSmallProduct;
  for_each_block(m, n, small ? m : block_rows, small ? n : block_cols, product);
}

/// Columns of blocks of an m x n result in fp32: fewer where there are few rows to share out.
int64_t block_columns(int64_t m, int64_t n) {
  const int64_t wanted = (kEnoughBlocks * kBlockRows + m - 1) / std::max<int64_t>(m, 1);
  const int64_t cols = (n + wanted - 1) / std::max<int64_t>(wanted, 1);
  return std::clamp((cols + kLeastCols - 1) / kLeastCols * kLeastCols, kLeastCols, kBlockCols);
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
  using Shape = std::array<int64_t, 4>;
  static thread_local std::map<Shape, Product> made;
  const Shape shape{m, n, k, static_cast<int64_t>(order)};
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
  try {
    const auto tag = order == Order::transposed ? memory::format_tag::ba : memory::format_tag::ab;
    // Whole rows: oneDNN's AMX kernel writes dense results only.
    by_blocks(m, n, k, kBlockRows, n, [&](int64_t row, int64_t rows, int64_t, int64_t) {
      const Product& product = bf16_product(rows, n, k, order, bf16_weights(n, k, tag));
      execute(product, a + row * k, memory(product.b, engine(), const_cast<uint16_t*>(b)), c + row * n);
    });
  } catch (const dnnl::error& e) {
    fail(m, n, k, e.status);
  }
}

}  // namespace

void matmul_transposed(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
                       float* c, int64_t ldc) {
  by_blocks(m, n, k, kBlockRows, block_columns(m, n), [&](int64_t row, int64_t rows, int64_t col, int64_t cols) {
    const auto status =
        dnnl_sgemm('N', 'T', rows, cols, k, 1, a + row * lda, lda, b + col * ldb, ldb, 0, c + row * ldc + col, ldc);
    if (status != dnnl_success) fail(rows, cols, k, status);
  });
}

void matmul(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
            int64_t ldc) {
  by_blocks(m, n, k, kBlockRows, block_columns(m, n), [&](int64_t row, int64_t rows, int64_t col, int64_t cols) {
    const auto status =
        dnnl_sgemm('N', 'N', rows, cols, k, 1, a + row * lda, lda, b + col, ldb, 0, c + row * ldc + col, ldc);
    if (status != dnnl_success) fail(rows, cols, k, status);
  });
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
  int64_t n = 0, k = 0, cols = 0;  // columns of a panel; the last one may have fewer
  std::vector<memory> panels;
};

Bf16Weights::Bf16Weights(int64_t n, int64_t k, const uint16_t* b) : state_(std::make_unique<State>()) {
  constexpr int64_t rows = 1024;  // the order does not depend on the rows of a
  const int64_t panels = std::clamp<int64_t>(n / kPanelCols, 1, kMostPanels);
  state_->n = n;
  state_->k = k;
  state_->cols = ((n + panels - 1) / panels + kLeastCols - 1) / kLeastCols * kLeastCols;
  try {
    const OneThread one;
    for (int64_t col = 0; col < n; col += state_->cols) {
      const int64_t cols = std::min(state_->cols, n - col);
      const memory plain(bf16_weights(cols, k, memory::format_tag::ba), engine(), const_cast<uint16_t*>(b + col * k));
      const auto best = describe_bf16(rows, cols, k, bf16_weights(cols, k, memory::format_tag::any)).weights_desc();
      memory& panel = state_->panels.emplace_back(best, engine());
      dnnl::stream stream(engine());
      dnnl::reorder(plain, panel).execute(stream, const_cast<memory&>(plain), panel);
      stream.wait();
    }
  } catch (const dnnl::error& e) {
    fail(rows, n, k, e.status);
  }
}

Bf16Weights::~Bf16Weights() = default;
Bf16Weights::Bf16Weights(Bf16Weights&&) noexcept = default;
Bf16Weights& Bf16Weights::operator=(Bf16Weights&&) noexcept = default;

void Bf16Weights::multiply(int64_t m, const uint16_t* a, float* c) const {
  const int64_t n = state_->n, k = state_->k;
  try {
    for_each_block(m, n, kBlockRows, state_->cols, [&](int64_t row, int64_t rows, int64_t col, int64_t cols) {
      const memory& panel = state_->panels[static_cast<size_t>(col / state_->cols)];
      float* const to = c + row * n + col;
      const Product& product = bf16_product(rows, cols, k, Order::blocked, panel.get_desc());
      if (cols == n || rows == 1) return execute(product, a + row * k, panel, to);
      // oneDNN's AMX kernel writes dense results only.
      static thread_local std::vector<float> dense;
      dense.resize(static_cast<size_t>(rows * cols));
      execute(product, a + row * k, panel, dense.data());
      for (int64_t r = 0; r < rows; ++r) std::copy_n(dense.data() + r * cols, cols, to + r * n);
    });
  } catch (const dnnl::error& e) {
    fail(m, state_->n, state_->k, e.status);
  }
}

int64_t Bf16Weights::bytes() const {
  size_t bytes = 0;
  for (const memory& panel : state_->panels) bytes += panel.get_desc().get_size();
  return static_cast<int64_t>(bytes);
}

Compute best_compute() {
  return bf16_matmul_supported() ? Compute::bf16 : Compute::f32;
}

std::string_view compute_name(Compute compute) {
  return compute == Compute::bf16 ? "bf16" : "f32";
}

Compute parse_compute(std::string_view name) {
  const Named<Compute> known[]{{"f32", Compute::f32}, {"bf16", Compute::bf16}, {"auto", best_compute()}};
  return parse_named(known, "compute", name);
}

bool bf16_matmul_supported() {
  static const bool supported = [] {
    try {
      const OneThread one;
      const auto product = describe_bf16(16, 16, 16, bf16_weights(16, 16, memory::format_tag::ba));
      return product.impl_info_str() != std::string("ref:any");
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return supported;
}

}  // namespace mxq
