#include "model/runner/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "model/runner/cpu/attention_rows.h"

namespace mxq {

namespace {

// oneDNN compiles a kernel for every shape of bf16 product; below this many rows the fp32 one, which it has, is faster.
constexpr int64_t kBf16Rows = 32;

template <typename T>
std::unique_ptr<T[]> room(int64_t n) {
  return std::make_unique_for_overwrite<T[]>(static_cast<size_t>(n));
}

/// Keys and values of one sequence in bf16, [kv_heads, past + n, head_dim]; empty where fp32 is used.
struct Bf16Keys {
  std::unique_ptr<uint16_t[]> keys, values;
};

/// Queries [first, first + tokens) of one KV head of one sequence. Row t * group + g is query head g of the KV head's,
/// of token t.
class Block {
 public:
  Block(const AttentionShape& shape, const AttentionInput& input, const Bf16Keys& bf16, int64_t kv_head, int64_t first,
        int64_t tokens)
      : shape_(&shape),
        in_(&input),
        bf16_(&bf16),
        kv_head_(kv_head),
        tokens_(tokens),
        position_(input.past + first),
        from_(shape.window > 0 ? std::max<int64_t>(0, position_ - shape.window + 1) : 0),
        keys_(position_ + tokens - from_),
        rows_(tokens * shape.heads / shape.kv_heads),
        width_(shape.heads / shape.kv_heads * shape.head_dim),
        q_at_(first * shape.heads * shape.head_dim + kv_head * width_) {}

  int64_t work() const { return rows_ * keys_; }

  void run() const {
    const auto mixed = room<float>(rows_ * shape_->head_dim);
    if (bf16_->keys) {
      mix_bf16(mixed.get());
    } else {
      mix_f32(mixed.get());
    }
    for (int64_t t = 0; t < tokens_; ++t) {
      std::copy_n(mixed.get() + t * width_, width_, in_->out + q_at_ + t * q_row());
    }
  }

 private:
  int64_t q_row() const { return shape_->heads * shape_->head_dim; }
  /// The scores, capped where they are to be; what is left to scale them by.
  float cap(float* scores) const {
    if (shape_->cap <= 0) return shape_->scale;
    soft_cap(scores, shape_->scale, shape_->cap, rows_ * keys_);
    return 1;
  }

  ScoreRows score_rows() const {
    const int64_t group = rows_ / tokens_;
    return {rows_, group,          position_,
            from_, shape_->window, shape_->sinks == nullptr ? nullptr : shape_->sinks + kv_head_ * group};
  }

  /// mixed [rows, head_dim] = softmax(q k^T) v.
  void mix_f32(float* mixed) const {
    const int64_t dim = shape_->head_dim, kv_row = shape_->kv_heads * dim, kv_at = from_ * kv_row + kv_head_ * dim;
    const auto q = room<float>(rows_ * dim);
    for (int64_t t = 0; t < tokens_; ++t) std::copy_n(in_->q + q_at_ + t * q_row(), width_, q.get() + t * width_);
    const auto scores = room<float>(rows_ * keys_);
    matmul_transposed(rows_, keys_, dim, q.get(), dim, in_->keys + kv_at, kv_row, scores.get(), keys_);
    const float scale = cap(scores.get());
    score_rows().softmax_visible(scale, keys_, scores.get());
    matmul(rows_, dim, keys_, scores.get(), keys_, in_->values + kv_at, kv_row, mixed, dim);
  }

  void mix_bf16(float* mixed) const {
    const int64_t dim = shape_->head_dim, kv_at = (kv_head_ * (in_->past + in_->n) + from_) * dim;
    const auto q = room<uint16_t>(rows_ * dim);
    for (int64_t t = 0; t < tokens_; ++t) to_bf16(in_->q + q_at_ + t * q_row(), width_, q.get() + t * width_);
    const auto scores = room<float>(rows_ * keys_);
    matmul_transposed(rows_, keys_, dim, q.get(), bf16_->keys.get() + kv_at, scores.get(), keys_);
    const auto weights = room<uint16_t>(rows_ * keys_);
    const auto sums = room<float>(rows_);
    const float scale = cap(scores.get());
    const ScoreRows score_rows = this->score_rows();
    score_rows.for_each([&](int64_t r, int64_t begin, int64_t end) {
      uint16_t* row = weights.get() + r * keys_;
      const float* visible = scores.get() + r * keys_ + begin;
      std::fill(row, row + begin, uint16_t{0});
      sums[static_cast<size_t>(r)] =
          softmax_bf16(visible, scale, end - begin, row + begin) + score_rows.of_sink(r, visible, end - begin, scale);
      std::fill(row + end, row + keys_, uint16_t{0});
    });
    matmul(rows_, dim, keys_, weights.get(), bf16_->values.get() + kv_at, mixed);
    for (int64_t r = 0; r < rows_; ++r) {
      const float inverse = 1 / sums[static_cast<size_t>(r)];
      for (int64_t i = r * dim; i < (r + 1) * dim; ++i) mixed[i] *= inverse;
    }
  }

  const AttentionShape* shape_;
  const AttentionInput* in_;
  const Bf16Keys* bf16_;
  int64_t kv_head_, tokens_;
  int64_t position_;  // of the first query
  int64_t from_;      // the first key that any query sees
  int64_t keys_;      // keys from there on
  int64_t rows_;
  int64_t width_;  // floats of a token's queries of this KV head
  int64_t q_at_;   // where they begin
};

Bf16Keys bf16_keys(const AttentionShape& shape, const AttentionInput& in) {
  const int64_t dim = shape.head_dim, keys = in.past + in.n;
  Bf16Keys out{room<uint16_t>(shape.kv_heads * keys * dim), room<uint16_t>(shape.kv_heads * keys * dim)};
  parallel_for(keys, [&](int64_t i) {
    for (int64_t head = 0; head < shape.kv_heads; ++head) {
      const int64_t from = (i * shape.kv_heads + head) * dim, to = (head * keys + i) * dim;
      to_bf16(in.keys + from, dim, out.keys.get() + to);
      to_bf16(in.values + from, dim, out.values.get() + to);
    }
  });
  return out;
}

}  // namespace

void causal_attention(const AttentionShape& shape, Compute compute, std::span<const AttentionInput> sequences) {
  const int64_t group = shape.heads / shape.kv_heads, block_tokens = std::max<int64_t>(1, kBlockRows / group);
  std::vector<Bf16Keys> bf16(sequences.size());
  std::vector<Block> blocks;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const AttentionInput& in = sequences[s];
    if (compute == Compute::bf16 && in.n * group >= kBf16Rows) bf16[s] = bf16_keys(shape, in);
    for (int64_t first = 0; first < in.n; first += block_tokens) {
      for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
        blocks.emplace_back(shape, in, bf16[s], kv_head, first, std::min(block_tokens, in.n - first));
      }
    }
  }
  // The longest first, so that no thread is left with one at the end.
  std::stable_sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) { return a.work() > b.work(); });
  parallel_for(static_cast<int64_t>(blocks.size()), [&](int64_t i) { blocks[static_cast<size_t>(i)].run(); });
}

}  // namespace mxq
