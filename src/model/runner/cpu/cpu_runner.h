// The forward pass of Llama-like decoders.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/arch/architecture.h"
#include "model/runner/cpu/linear.h"
#include "model/runner/cpu/rope.h"
#include "model/model_source.h"

namespace mxq {

/// What a decoder remembers of a sequence, so that it can be continued. Belongs to one decoder.
struct KvCache {
  struct Layer {
    std::vector<float> keys, values;  // [length, kv_heads * head_dim]; keys are rotated
  };
  std::vector<Layer> layers;  // empty before the first token
  int64_t length = 0;         // tokens
};

/// The next tokens of a sequence. With a cache they follow what is in it and are added to it; without one they begin
/// at position 0 and are forgotten.
struct Sequence {
  std::span<const int32_t> ids;
  KvCache* cache = nullptr;
};

/// Sees an input before it is multiplied, and may replace the matrices that will.
using InputObserver = std::function<void(int64_t layer, LayerInput input, const Operand& rows)>;

/// What a layer made of the residual stream on its way through, as a backward pass needs it: a row a token.
struct LayerTape {
  std::vector<float> residual;            // as it entered
  std::vector<float> attention_input;     // normed: what q, k and v multiply
  std::vector<float> plain_q, plain_k;    // before the norms of heads; empty where the layer has none
  std::vector<float> q, k, v;             // q and k rotated
  std::vector<float> heads;               // what o multiplies
  std::vector<float> middle;              // the residual stream between attention and feed-forward network
  std::vector<float> feed_forward_input;  // normed: what gate and up multiply
  std::vector<float> gate, up;
  std::vector<float> gated;  // what down multiplies

  /// What the module's matrix ("self_attn.q_proj") multiplies.
  const std::vector<float>& input_of(std::string_view module) const;
};

/// Of those in model/arch/: RMSNorm, rotary attention with grouped queries, SwiGLU;
/// Qwen2's biases and Qwen3's norms of q and k where the model has them. Not thread-safe.
class Decoder {
 public:
  /// `model` must outlive it. Throws Error(unsupported) naming the architecture and those supported, a field of the
  /// configuration with a value that is not supported, or a compute that the processor has not; Error(invalid_file) for tensors that are missing or
  /// have another shape than the config says.
  explicit Decoder(const ModelSource& model, const RunOptions& options = {});

  int64_t vocab_size() const { return config_.vocab_size; }
  int64_t hidden_size() const { return config_.hidden_size; }
  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }
  Compute compute() const { return compute_; }
  /// The longest sequence that the model was made for; 0: unknown.
  int64_t max_positions() const { return config_.max_position_embeddings; }
  /// The matrix of that name ("model.layers.0.self_attn.q_proj"), so that it can be replaced; null where there is none.
  Linear* find_matrix(const std::string& name);
  /// The name of the matrix that the logits are made with: kHead, or kEmbedding where the two are one.
  std::string_view head() const { return config_.tie_word_embeddings ? kEmbedding : kHead; }
  /// What a KvCache takes for a token.
  int64_t cache_bytes_per_token() const;
  /// Bytes of matrices that stay in memory.
  int64_t resident_bytes() const;

  /// The last hidden states of all sequences, one after another, after the final norm: [sum of ids, hidden_size].
  /// Throws Error(usage) for an id outside the vocabulary, Error(not_finite) naming the first layer whose output is NaN
  /// or infinite; the caches are unusable then.
  std::vector<float> hidden(std::span<const Sequence> sequences);
  /// Of one sequence without cache.
  std::vector<float> hidden(std::span<const int32_t> ids);
  /// The parts of hidden(), for those who look between the layers; without caches. The residual stream,
  /// [sum of ids, hidden_size], as it enters layer 0; layers [first, last) applied to it; the last hidden states of it.
  /// Errors as above.
  std::vector<float> embed(std::span<const Sequence> sequences);
  void run_layers(std::span<const Sequence> sequences, int64_t first, int64_t last, std::vector<float>& residual,
                  const InputObserver& observe = {});
  std::vector<float> last_norm(std::span<const Sequence> sequences, std::span<const float> residual);
  /// The gradient with respect to `residual` of a scalar whose gradient with respect to last_norm() of it is `outer`.
  std::vector<float> last_norm_gradient(std::span<const float> residual, std::span<const float> outer) const;
  /// run_layers() of one layer that leaves behind what it computed.
  void run_layer(std::span<const Sequence> sequences, int64_t index, std::vector<float>& residual, LayerTape& tape);
  /// Logits of `n` hidden states: [n, vocab_size].
  void logits(const float* hidden, int64_t n, float* out) const;

 private:
  friend class LayerBackward;

  struct Layer {
    std::vector<float> input_norm, post_attention_norm, q_norm, k_norm;  // the last two may be empty
    Linear q, k, v, o, gate, up, down;
  };

  void start(std::span<const Sequence> sequences);
  // tape: where a layer leaves what it computes; null: nowhere.
  void attend(int64_t index, std::span<const Sequence> sequences, const InputObserver& observe, LayerTape* tape);
  void feed_forward(int64_t index, const InputObserver& observe, LayerTape* tape);
  void look_up();
  void run(std::span<const Sequence> sequences, int64_t first, int64_t last, const InputObserver& observe = {},
           LayerTape* tape = nullptr);
  void run_between(std::span<const Sequence> sequences, int64_t first, int64_t last, std::vector<float>& residual,
                   const InputObserver& observe, LayerTape* tape);
  void add_and_norm(const std::vector<float>& weight);

  ModelConfig config_;
  Compute compute_;
  Rope rope_;
  Linear embedding_, head_;  // head_ unused where the embeddings are tied
  std::vector<Layer> layers_;
  std::vector<float> norm_;
  // Activations of the tokens at hand.
  int64_t n_ = 0;
  std::vector<int32_t> ids_;
  std::vector<int64_t> positions_;
  bool pending_ = false;     // delta_ is still to be added to x_
  int64_t last_layer_ = -1;  // the last one that x_ and delta_ come from; -1: the embedding
  std::vector<float> x_, delta_, q_, k_, v_, attended_, gate_, up_;
  Operand operand_;
};

}  // namespace mxq
