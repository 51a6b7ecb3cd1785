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

/// Weights of the keys [from, from + keys) for each row of scores, in place: zero where a query may not look.
void mask_and_softmax(const AttentionShape& shape, const Block& block, int64_t from, int64_t keys, float* scores) {
  const int64_t group = shape.heads / shape.kv_heads;
  for (int64_t r = 0; r < block.tokens * group; ++r) {
    float* row = scores + r * keys;
    const int64_t position = block.input->past + block.first + r / group;
    const int64_t begin = shape.window > 0 ? std::max<int64_t>(0, position - shape.window + 1 - from) : 0;
    const int64_t end = position - from + 1;
    std::fill(row, row + begin, 0.0f);
    softmax(row + begin, end - begin);
    std::fill(row + end, row + keys, 0.0f);
  }
}

std::unique_ptr<uint16_t[]> dense_bf16(const float* from, int64_t stride, int64_t rows, int64_t width) {
  auto dense = room<uint16_t>(rows * width);
  for (int64_t i = 0; i < rows; ++i) to_bf16(from + i * stride, width, dense.get() + i * width);
  return dense;
}

void attend(const AttentionShape& shape, Compute compute, const Block& block) {
  const AttentionInput& in = *block.input;
  const int64_t dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  const int64_t q_row = shape.heads * dim, kv_row = shape.kv_heads * dim;
  const int64_t position = in.past + block.first, last = position + block.tokens;
  const int64_t from = shape.window > 0 ? std::max<int64_t>(0, position - shape.window + 1) : 0;  // first key seen
  const int64_t keys = last - from, rows = block.tokens * group;
  const float* k = in.keys + from * kv_row + block.kv_head * dim;
  const float* v = in.values + from * kv_row + block.kv_head * dim;

  // Row t * group + g: query head g of this KV head, of token t.
  const auto q = room<float>(rows * dim);
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(dim)));
  for (int64_t t = 0; t < block.tokens; ++t) {
    const float* heads = in.q + (block.first + t) * q_row + block.kv_head * group * dim;
    for (int64_t i = 0; i < group * dim; ++i) q[static_cast<size_t>(t * group * dim + i)] = heads[i] * scale;
  }
  const auto scores = room<float>(rows * keys);
  const auto mixed = room<float>(rows * dim);
  if (compute == Compute::bf16 && rows >= kBf16Rows) {
    matmul_transposed(rows, keys, dim, dense_bf16(q.get(), dim, rows, dim).get(),
                      dense_bf16(k, kv_row, keys, dim).get(), scores.get(), keys);
    mask_and_softmax(shape, block, from, keys, scores.get());
    matmul(rows, dim, keys, dense_bf16(scores.get(), keys, rows, keys).get(), dense_bf16(v, kv_row, keys, dim).get(),
           mixed.get());
  } else {
    matmul_transposed(rows, keys, dim, 1, q.get(), dim, k, kv_row, scores.get(), keys);
    mask_and_softmax(shape, block, from, keys, scores.get());
    matmul(rows, dim, keys, scores.get(), keys, v, kv_row, mixed.get(), dim);
  }
  for (int64_t t = 0; t < block.tokens; ++t) {
    std::copy_n(mixed.get() + t * group * dim, group * dim,
                in.out + (block.first + t) * q_row + block.kv_head * group * dim);
  }
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
