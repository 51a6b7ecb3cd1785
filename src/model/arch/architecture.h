// What a model_type's layers consist of and what its config.json may say: the one place that knows an architecture.
// Each is described in a file of its own beside this one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// What the matrices of a layer multiply, in the order in which it comes about: the normed residual stream (q, k, v),
/// the heads' outputs (o), the normed residual stream again (gate, up), the gated activations (down).
enum class LayerInput { attention, heads, feed_forward, gated };
inline constexpr int kLayerInputs = 4;

/// An extent of a tensor, by the configuration's numbers.
enum class Extent { none, hidden, intermediate, queries, keys, head_dim };

/// What a tensor is to the layer that reads it. Norms: of what attention reads, of what the feed-forward network
/// reads, of each head of q and k.
enum class LayerPart { input_norm, q, k, v, o, feed_forward_norm, gate, up, down, q_norm, k_norm };
inline constexpr int kLayerParts = 11;

/// A tensor of a layer.
struct LayerTensor {
  LayerPart part;
  std::string_view hf, gguf;  // behind "model.layers.N." and "blk.N.", without ".weight"
  Extent rows = Extent::none, cols = Extent::none;
  std::optional<LayerInput> input;  // of matrices: what it multiplies
};

/// What a field of config.json or a key of GGUF metadata means for the forward pass.
struct ConfigField {
  enum Use {
    read,     // parsed and honoured
    ignored,  // changes nothing that the model computes
    only,     // the values of `allowed` are supported, any other makes the model one that cannot be run
  };
  std::string_view name;
  Use use = ignored;
  std::vector<std::string_view> allowed = {};  // as JSON: "\"silu\"", "1.0"
};

/// Whether a module adds a bias.
enum class Bias { never, always, by_config };

/// Which layers see a window of tokens only.
enum class WindowRule {
  none,         // whatever the configuration says
  all_layers,   // where sliding_window is not null
  layer_types,  // where use_sliding_window is true: as layer_types say, else from max_window_layers on
};

/// The tensors of a layer of Llama, which others change a little.
std::vector<LayerTensor> llama_tensors();
/// Those, and a norm of each head of q and k.
std::vector<LayerTensor> tensors_with_head_norms();

struct Architecture {
  std::string_view name;                               // HF's model_type
  std::vector<std::string_view> also = {};             // other model_types whose text decoder computes the same
  std::string_view class_name;                         // "Llama" of "LlamaForCausalLM"
  std::vector<LayerTensor> tensors = llama_tensors();  // of a layer, in the order in which runtimes list them
  bool gguf_permutes_rows = false;                     // of q and k: llama.cpp's converter pairs neighbouring rows
  Bias attention_bias = Bias::never;                   // of q, k and v; by_config: attention_bias
  Bias output_bias = Bias::never;                      // of o; by_config: attention_bias
  Bias mlp_bias = Bias::never;                         // by_config: mlp_bias
  WindowRule window = WindowRule::none;
  std::optional<int64_t> default_window = {};  // where sliding_window is missing
  int64_t default_max_positions = 0;
  std::optional<int64_t> default_kv_heads = {};  // where num_key_value_heads is missing; none: as many as heads
  std::optional<int64_t> default_head_dim = {};  // where head_dim is missing; none: hidden_size / heads
  std::vector<ConfigField> own_fields = {};      // beside those of every architecture

  /// The table's entry of a field of config.json; null where nobody knows it.
  const ConfigField* find_field(std::string_view field) const;
  /// The tensor of a module or norm ("self_attn.q_proj"); null where a layer has none of that name.
  const LayerTensor* find_tensor(std::string_view hf) const;
  /// The name of a part: "self_attn.q_proj"; empty where a layer has none.
  std::string_view module_of(LayerPart part) const;
  /// The modules that multiply it: "self_attn.q_proj", ...
  std::vector<std::string_view> modules_of(LayerInput input) const;
};

/// llama, mistral, qwen2, qwen3.
std::span<const Architecture* const> architectures();
/// By model_type, other names included; null where it is none of them.
const Architecture* find_architecture(std::string_view model_type);
/// "llama, mistral, ...", for messages.
std::string architecture_names();

/// The entry of a GGUF key behind "<architecture>."; null where nobody knows it.
const ConfigField* find_gguf_field(std::string_view key);

/// Modules of a block that runtimes compute with one matrix, by the last parts of their names.
struct FusedModules {
  std::string_view name;  // "qkv"
  std::vector<std::string_view> modules;
};
/// Of all of architectures(): qkv, gate_up.
std::span<const FusedModules> fused_modules();

/// Each in a file of its own.
const Architecture& llama_architecture();
const Architecture& mistral_architecture();
const Architecture& qwen2_architecture();
const Architecture& qwen3_architecture();

}  // namespace mxq
