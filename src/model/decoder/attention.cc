#include "model/decoder/attention.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "kernels/rows.h"

namespace mxq {

namespace {

// Rows of scores (queries times the heads that share keys) at a time: against 1,024 keys they stay in a core's cache.
constexpr int64_t kBlockRows = 384;
// oneDNN compiles a kernel for every shape of bf16 product; below this many rows the fp32 one, which it has, is faster.
constexpr int64_t kBf16Rows = 32;

template <typename T>
std::unique_ptr<T[]> room(int64_t n) {
  return std::make_unique_for_overwrite<T[]>(static_cast<size_t>(n));
}

/// Queries [first, first + tokens) of one KV head of one sequence.
struct Block {
  const AttentionInput* input = nullptr;
  int64_t kv_head = 0, first = 0, tokens = 0;
};

/// What the rows of a block have in common.
struct Extent {
  int64_t rows = 0;  // row t * group + g: query head g of the KV head's, of token t
  int64_t from = 0;  // the first key that any of them sees
  int64_t keys = 0;  // keys from there on
  float scale = 1;   // 1 / sqrt(head_dim)
};

/// Calls body(row, begin, end) for the keys that each row may look at, counted from extent.from.
template <typename Body>
void for_each_row(const AttentionShape& shape, const Block& block, const Extent& extent, Body body) {
  const int64_t group = shape.heads / shape.kv_heads;
  for (int64_t r = 0; r < extent.rows; ++r) {
    const int64_t position = block.input->past + block.first + r / group;
    const int64_t begin = shape.window > 0 ? std::max<int64_t>(0, position - shape.window + 1 - extent.from) : 0;
    body(r, begin, position - extent.from + 1);
  }
}

std::unique_ptr<uint16_t[]> dense_bf16(const float* from, int64_t stride, int64_t rows, int64_t width) {
  auto dense = room<uint16_t>(rows * width);
  for (int64_t i = 0; i < rows; ++i) to_bf16(from + i * stride, width, dense.get() + i * width);
  return dense;
}

/// mixed [rows, head_dim] = softmax(q k^T) v; q [tokens, group * head_dim] with rows q_row apart, k and v likewise.
void mix_f32(const AttentionShape& shape, const Block& block, const Extent& extent, const float* q, const float* k,
             const float* v, float* mixed) {
  const int64_t dim = shape.head_dim, width = extent.rows / block.tokens * dim, keys = extent.keys;
  const int64_t q_row = shape.heads * dim, kv_row = shape.kv_heads * dim;
  const auto dense = room<float>(extent.rows * dim);
  for (int64_t t = 0; t < block.tokens; ++t) std::copy_n(q + t * q_row, width, dense.get() + t * width);
  const auto scores = room<float>(extent.rows * keys);
  matmul_transposed(extent.rows, keys, dim, dense.get(), dim, k, kv_row, scores.get(), keys);
  for_each_row(shape, block, extent, [&](int64_t r, int64_t begin, int64_t end) {
    float* row = scores.get() + r * keys;
    std::fill(row, row + begin, 0.0f);
    softmax(row + begin, extent.scale, end - begin);
    std::fill(row + end, row + keys, 0.0f);
  });
  matmul(extent.rows, dim, keys, scores.get(), keys, v, kv_row, mixed, dim);
}

void mix_bf16(const AttentionShape& shape, const Block& block, const Extent& extent, const float* q, const float* k,
              const float* v, float* mixed) {
  const int64_t dim = shape.head_dim, width = extent.rows / block.tokens * dim, keys = extent.keys;
  const int64_t q_row = shape.heads * dim, kv_row = shape.kv_heads * dim;
  const auto scores = room<float>(extent.rows * keys);
  matmul_transposed(extent.rows, keys, dim, dense_bf16(q, q_row, block.tokens, width).get(),
                    dense_bf16(k, kv_row, keys, dim).get(), scores.get(), keys);
  const auto weights = room<uint16_t>(extent.rows * keys);
  std::vector<float> sums(static_cast<size_t>(extent.rows));
  for_each_row(shape, block, extent, [&](int64_t r, int64_t begin, int64_t end) {
    uint16_t* row = weights.get() + r * keys;
    std::fill(row, row + begin, uint16_t{0});
    sums[static_cast<size_t>(r)] =
        softmax_bf16(scores.get() + r * keys + begin, extent.scale, end - begin, row + begin);
    std::fill(row + end, row + keys, uint16_t{0});
  });
  matmul(extent.rows, dim, keys, weights.get(), dense_bf16(v, kv_row, keys, dim).get(), mixed);
  for (int64_t r = 0; r < extent.rows; ++r) {
    const float inverse = 1 / sums[static_cast<size_t>(r)];
    for (int64_t i = r * dim; i < (r + 1) * dim; ++i) mixed[i] *= inverse;
  }
}

void attend(const AttentionShape& shape, Compute compute, const Block& block) {
  const AttentionInput& in = *block.input;
  const int64_t dim = shape.head_dim, group = shape.heads / shape.kv_heads, width = group * dim;
  const int64_t q_row = shape.heads * dim, kv_row = shape.kv_heads * dim;
  const int64_t position = in.past + block.first;
  Extent extent;
  extent.rows = block.tokens * group;
  extent.from = shape.window > 0 ? std::max<int64_t>(0, position - shape.window + 1) : 0;
  extent.keys = position + block.tokens - extent.from;
  extent.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(dim)));
  const int64_t q_at = block.first * q_row + block.kv_head * width;
  const int64_t kv_at = extent.from * kv_row + block.kv_head * dim;
  const auto mixed = room<float>(extent.rows * dim);
  const bool bf16 = compute == Compute::bf16 && extent.rows >= kBf16Rows;
  (bf16 ? mix_bf16 : mix_f32)(shape, block, extent, in.q + q_at, in.keys + kv_at, in.values + kv_at, mixed.get());
  for (int64_t t = 0; t < block.tokens; ++t) std::copy_n(mixed.get() + t * width, width, in.out + q_at + t * q_row);
}

}  // namespace

void causal_attention(const AttentionShape& shape, Compute compute, std::span<const AttentionInput> sequences) {
  const int64_t block_tokens = std::max<int64_t>(1, kBlockRows / (shape.heads / shape.kv_heads));
  std::vector<Block> blocks;
  for (const AttentionInput& input : sequences) {
    for (int64_t first = 0; first < input.n; first += block_tokens) {
      for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
        blocks.push_back({&input, kv_head, first, std::min(block_tokens, input.n - first)});
      }
    }
  }
  parallel_for(static_cast<int64_t>(blocks.size()),
               [&](int64_t i) { attend(shape, compute, blocks[static_cast<size_t>(i)]); });
}

}  // namespace mxq
