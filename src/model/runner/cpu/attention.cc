#include "model/runner/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "base/parallel.h"
#include "kernels/few_rows.h"
#include "kernels/rows.h"
#include "model/runner/cpu/attention_rows.h"

namespace mxq {

namespace {

// oneDNN compiles a kernel for every shape of bf16 product; with fewer rows that takes longer than the products.
constexpr int64_t kBf16Rows = 32;
// As fast as oneDNN's with hot caches, and faster where keys come from memory.
constexpr int64_t kFewRows = 4;

template <typename T>
std::unique_ptr<T[]> room(int64_t n) {
  return std::make_unique_for_overwrite<T[]>(static_cast<size_t>(n));
}

/// A sequence's keys and values.
struct KeysAndValues {
  const AttentionInput* in;
  HeadRows own_keys, own_values;  // in bf16, where the input's are not

  KeysAndValues(const AttentionShape& shape, Compute compute, const AttentionInput& input)
      : in(&input),
        dim_(shape.head_dim),
        row_(shape.kv_heads * dim_),
        in_bf16_(compute == Compute::bf16 && input.n * shape.heads / shape.kv_heads >= kBf16Rows) {
    if (!in_bf16_ || input.kept_keys != nullptr) return;
    own_keys.add(input.keys, input.past + input.n, shape.kv_heads, dim_, compute);
    own_values.add(input.values, input.past + input.n, shape.kv_heads, dim_, compute);
  }

  /// Products are to be of bf16 operands; keys and values are in bf16 then.
  bool in_bf16() const { return in_bf16_; }
  HeadView keys(int64_t head) const { return head_of(in->kept_keys, own_keys, in->keys, head); }
  HeadView values(int64_t head) const { return head_of(in->kept_values, own_values, in->values, head); }

 private:
  HeadView head_of(const HeadRows* kept, const HeadRows& own, const float* rows, int64_t head) const {
    if (kept != nullptr) return kept->head(head);
    if (in_bf16_) return own.head(head);
    return {rows + head * dim_, nullptr, row_};
  }

  int64_t dim_, row_;
  bool in_bf16_;
};

/// Queries [first, first + tokens) of one KV head of one sequence. Row t * group + g is query head g of the KV head's,
/// of token t.
class Block {
 public:
  Block(const AttentionShape& shape, const KeysAndValues& sequence, int64_t kv_head, int64_t first, int64_t tokens)
      : shape_(&shape),
        sequence_(&sequence),
        in_(sequence.in),
        kv_head_(kv_head),
        tokens_(tokens),
        position_(in_->past + first),
        from_(shape.window > 0 ? std::max<int64_t>(0, position_ - shape.window + 1) : 0),
        keys_(position_ + tokens - from_),
        rows_(tokens * shape.heads / shape.kv_heads),
        width_(shape.heads / shape.kv_heads * shape.head_dim),
        q_at_(first * shape.heads * shape.head_dim + kv_head * width_) {}

  int64_t work() const { return rows_ * keys_; }

  void run() const {
    const auto mixed = room<float>(rows_ * shape_->head_dim);
    if (sequence_->in_bf16()) {
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

  HeadView keys() const { return sequence_->keys(kv_head_).from(from_); }
  HeadView values() const { return sequence_->values(kv_head_).from(from_); }

  /// mixed [rows, head_dim] = softmax(q k^T) v.
  void mix_f32(float* mixed) const {
    const int64_t dim = shape_->head_dim;
    const auto q = room<float>(rows_ * dim);
    for (int64_t t = 0; t < tokens_; ++t) std::copy_n(in_->q + q_at_ + t * q_row(), width_, q.get() + t * width_);
    const auto scores = room<float>(rows_ * keys_);
    const HeadView k = keys(), v = values();
    if (k.f32 == nullptr) {
      few_rows_scores(rows_, keys_, dim, q.get(), k.bf16, k.stride, scores.get());
    } else if (rows_ <= kFewRows) {
      few_rows_scores(rows_, keys_, dim, q.get(), k.f32, k.stride, scores.get());
    } else {
      matmul_transposed(rows_, keys_, dim, q.get(), dim, k.f32, k.stride, scores.get(), keys_);
    }
    const float scale = cap(scores.get());
    score_rows().softmax_visible(scale, keys_, scores.get());
    if (v.f32 == nullptr) {
      few_rows_mix(rows_, keys_, dim, scores.get(), v.bf16, v.stride, mixed);
    } else if (rows_ <= kFewRows) {
      few_rows_mix(rows_, keys_, dim, scores.get(), v.f32, v.stride, mixed);
    } else {
      matmul(rows_, dim, keys_, scores.get(), keys_, v.f32, v.stride, mixed, dim);
    }
  }

  void mix_bf16(float* mixed) const {
    const int64_t dim = shape_->head_dim;
    const auto q = room<uint16_t>(rows_ * dim);
    for (int64_t t = 0; t < tokens_; ++t) to_bf16(in_->q + q_at_ + t * q_row(), width_, q.get() + t * width_);
    const auto scores = room<float>(rows_ * keys_);
    matmul_transposed(rows_, keys_, dim, q.get(), keys().bf16, scores.get(), keys_);
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
    matmul(rows_, dim, keys_, weights.get(), values().bf16, mixed);
    for (int64_t r = 0; r < rows_; ++r) {
      const float inverse = 1 / sums[static_cast<size_t>(r)];
      for (int64_t i = r * dim; i < (r + 1) * dim; ++i) mixed[i] *= inverse;
    }
  }

  const AttentionShape* shape_;
  const KeysAndValues* sequence_;
  const AttentionInput* in_;
  int64_t kv_head_, tokens_;
  int64_t position_;  // of the first query
  int64_t from_;      // the first key that any query sees
  int64_t keys_;      // keys from there on
  int64_t rows_;
  int64_t width_;  // floats of a token's queries of this KV head
  int64_t q_at_;   // where they begin
};

}  // namespace

void causal_attention(const AttentionShape& shape, Compute compute, std::span<const AttentionInput> sequences) {
  const int64_t group = shape.heads / shape.kv_heads, block_tokens = std::max<int64_t>(1, kBlockRows / group);
  std::vector<KeysAndValues> all;
  all.reserve(sequences.size());  // blocks point there
  std::vector<Block> blocks;
  for (const AttentionInput& in : sequences) {
    all.emplace_back(shape, compute, in);
    for (int64_t first = 0; first < in.n; first += block_tokens) {
      for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
        blocks.emplace_back(shape, all.back(), kv_head, first, std::min(block_tokens, in.n - first));
      }
    }
  }
  // The longest first, so that no thread is left with one at the end.
  std::stable_sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) { return a.work() > b.work(); });
  parallel_for(static_cast<int64_t>(blocks.size()), [&](int64_t i) { blocks[static_cast<size_t>(i)].run(); });
}

}  // namespace mxq
