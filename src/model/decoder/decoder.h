// The forward pass of Llama-like decoders.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "model/decoder/linear.h"
#include "model/decoder/rope.h"
#include "model/model_source.h"

namespace mxq {

/// model_type of the decoders that can be run: llama (Llama 2 and 3, SmolLM), mistral, qwen2, qwen3.
const std::vector<std::string>& decoder_architectures();

/// RMSNorm, rotary attention with grouped queries, SwiGLU; Qwen2's biases and Qwen3's norms of q and k where the model
/// has them. fp32 throughout. Not thread-safe.
class Decoder {
 public:
  /// `model` must outlive it. Throws Error(unsupported) naming the architecture and those supported,
  /// Error(invalid_file) for tensors that are missing or have another shape than the config says.
  Decoder(const ModelSource& model, Residence residence);

  int64_t vocab_size() const { return config_.vocab_size; }
  int64_t hidden_size() const { return config_.hidden_size; }
  /// fp32 bytes of weights that stay in memory.
  int64_t resident_bytes() const { return resident_bytes_; }

  /// The window's last hidden states, after the final norm: [ids.size(), hidden_size]. The window begins at position 0.
  /// Throws Error(usage) for an id outside the vocabulary, Error(not_finite) naming the first layer whose output is NaN
  /// or infinite.
  std::vector<float> hidden(std::span<const int32_t> ids);
  /// Logits of `n` hidden states: [n, vocab_size].
  void logits(const float* hidden, int64_t n, float* out) const;

 private:
  struct Layer {
    std::vector<float> input_norm, post_attention_norm, q_norm, k_norm;  // the last two may be empty
    Linear q, k, v, o, gate, up, down;
  };

  void attend(const Layer& layer, int64_t n);
  void feed_forward(const Layer& layer, int64_t n);

  ModelConfig config_;
  Rope rope_;
  Linear embedding_, head_;  // head_ unused where the embeddings are tied
  std::vector<Layer> layers_;
  std::vector<float> norm_;
  int64_t resident_bytes_ = 0;
  std::vector<float> x_, normed_, q_, k_, v_, attended_, gate_, up_;  // activations of the window
};

}  // namespace mxq
