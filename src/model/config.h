// What a model's configuration says, from Hugging Face's config.json or GGUF metadata.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "model/arch/architecture.h"
#include "model/rope.h"
#include "mxq/tensor.h"

namespace mxq {

/// As mxq::Error says it: "'hidden_act' is \"gelu\"", "\"silu\"".
struct Unsupported {
  std::string given, supported;

  bool operator==(const Unsupported&) const = default;
};

/// What the gate of a feed-forward network goes through.
enum class Activation { silu, gelu, clamped };  // gelu: by tanh; clamped: gpt-oss's, of gate and up

/// A mixture of experts: feed-forward networks of which each token goes through the few that the router picks, those
/// of the largest softmax.
struct Mixture {
  int64_t experts = 0, per_token = 0;    // 0: no mixture
  int64_t intermediate_size = 0;         // of an expert
  int64_t shared_intermediate_size = 0;  // of the network beside them; 0: none
  bool normalised = true;                // what counts of a token's experts adds up to 1
  bool biases = false;                   // router and experts have biases
  std::vector<bool> layers = {};         // which layers have experts; empty: all

  bool operator==(const Mixture&) const = default;
};

/// Linear attention by the gated delta rule, in the place of attention. Value heads are a multiple of key heads.
struct LinearAttention {
  int64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  int64_t kernel = 0;             // tokens that a convolution sees, the last one included
  std::vector<bool> layers = {};  // which layers have it; empty: none

  int64_t keys() const { return key_heads * key_dim; }
  int64_t values() const { return value_heads * value_dim; }
  /// Of queries, keys and values.
  int64_t channels() const { return 2 * keys() + values(); }
  /// Numbers that it keeps of a text, however long.
  int64_t state() const { return (kernel - 1) * channels() + key_dim * values(); }

  bool operator==(const LinearAttention&) const = default;
};

struct ModelConfig {
  std::string architecture;  // HF's model_type: "llama"
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double norm_eps = 0;
  Activation activation = Activation::silu;
  RopeSettings rope;
  std::optional<RopeSettings> window_rope;                          // of layers with a window, where it is another
  double rotary_part = 1;                                           // of a head's dimensions, the first are rotated
  std::vector<bool> rope_layers;                                    // which layers rotate; empty: all
  std::optional<double> score_scale;                                // of q k^T; none: 1 / sqrt(head_dim)
  double score_cap = 0, logit_cap = 0;                              // x becomes cap * tanh(x / cap); 0: none
  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;  // of what is looked up, added, put out
  bool tie_word_embeddings = false;
  bool attention_bias = false;  // q, k and v have biases
  bool output_bias = false;     // o has one
  bool mlp_bias = false;
  Mixture mixture;
  LinearAttention linear;
  int64_t mtp_layers = 0;  // that foretell a token more, beside the others; mxq does not run them
  std::optional<int64_t> bos_token_id, pad_token_id;
  std::vector<int64_t> eos_token_ids;     // none, one, or several (chat models)
  std::optional<int64_t> sliding_window;  // tokens that a query sees, itself included
  std::vector<bool> window_layers;        // which layers have the window; empty: all
  /// config.json's quantization_config.quant_method ("gptq", ...; "?" where it has no name), empty for plain weights.
  std::string quantization;
  /// Fields that change what the model computes and that have a value which is not supported: the model cannot be run.
  std::vector<Unsupported> unsupported;
  /// Fields of the file that the architecture's table does not know ("rope_scaling.beta"), in the file's order.
  std::vector<std::string> unknown_fields;

  /// Tokens that a query of the layer sees, itself included; 0: all before it.
  int64_t window_of(int64_t layer) const;
  /// Dimensions of a head that are rotated.
  int64_t rotary_dim() const { return static_cast<int64_t>(static_cast<double>(head_dim) * rotary_part); }
  RopeShape rope_shape() const { return {rope, rotary_dim(), max_position_embeddings}; }
  /// Of q k^T where nothing else is said: 1 / sqrt(head_dim).
  double usual_score_scale() const { return 1 / std::sqrt(static_cast<double>(head_dim)); }
  bool rotates(int64_t layer) const { return rope_layers.empty() || rope_layers.at(static_cast<size_t>(layer)); }
  bool has_experts(int64_t layer) const {
    return mixture.experts > 0 && (mixture.layers.empty() || mixture.layers.at(static_cast<size_t>(layer)));
  }
  bool is_linear(int64_t layer) const { return !linear.layers.empty() && linear.layers.at(static_cast<size_t>(layer)); }
  /// Layers that have it; those with attention, whose keys and values grow with a text.
  int64_t linear_layers() const { return std::count(linear.layers.begin(), linear.layers.end(), true); }
  int64_t attention_layers() const { return num_hidden_layers - linear_layers(); }
  /// In numbers; 0: none.
  int64_t extent(Extent of) const;
  /// Whether a matrix adds a bias.
  bool has_bias(LayerPart matrix) const;

  bool operator==(const ModelConfig&) const = default;
};

/// Parses config.json; fields that it leaves out get the defaults of transformers, a text_config inside is used where
/// the model has several parts. `source` names the file in errors.
/// What the fields mean is in the architecture's table (model/arch/); of other architectures the shapes are read only,
/// as far as they are there. Throws Error(invalid_file) naming field and value where a number is missing, no number or
/// absurd.
ModelConfig parse_hf_config(std::string_view json, const std::string& source);

/// From GGUF metadata (and from which tensors there are: biases, a separate output matrix, tables of rope scaling).
/// What the keys mean, and what goes without a key, is as llama.cpp has it, and in the architecture's table
/// (model/arch/). Throws Error(unsupported) for architectures outside architectures(), mixtures of experts and rope
/// variants that no config.json can express, Error(invalid_file) as above.
ModelConfig gguf_config(const GgufFile& file);

/// A config.json that transformers loads. `dtype` (F16, BF16 or F32) becomes torch_dtype.
/// Throws Error(unsupported) for architectures outside architectures().
std::string hf_config_json(const ModelConfig& config, DType dtype);

/// Bytes of the KV cache at fp16: 2 * layers * KV heads * head_dim * context * 2, of layers with attention. Of those
/// with a sliding window this is the upper bound. Throws Error(usage) for a context below 1 or beyond 2^40.
int64_t kv_cache_bytes(const ModelConfig& config, int64_t context);
/// Bytes at fp32 of what the layers with linear attention keep of a text, however long.
int64_t linear_state_bytes(const ModelConfig& config);

}  // namespace mxq
