// What a model_type's layers consist of and what its config.json may say: the one place that knows an architecture.
// Each is described in a file of its own beside this one.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

class ConfigFields;
class GgufFields;
class GgufKeys;
struct ModelConfig;

/// What the matrices of a layer multiply, in the order in which it comes about: the normed residual stream (q, k, v, or
/// what linear attention is made of), the heads' outputs (o), the normed residual stream again (gate, up, router), the
/// gated activations (down); of an expert, those rows of the normed residual stream that the router gives it, and what
/// its gate makes of them. Where a layer's two halves read one input, gate and up multiply the first.
enum class LayerInput { attention, heads, feed_forward, gated, routed, routed_gated };

/// An extent of a tensor, by the configuration's numbers. qkv and gate_up: of matrices that runtimes keep apart
/// elsewhere. shared_intermediate: of the expert that sees all tokens.
enum class Extent {
  none,
  one,
  heads,
  hidden,
  intermediate,
  queries,
  keys,
  qkv,
  gate_up,
  head_dim,
  experts,
  expert_intermediate,
  shared_intermediate,
  gated_queries,    // of each head a query, and a gate of what it puts out
  linear_qkvz,      // of linear attention: queries, keys, values, and a gate of what the heads put out
  linear_channels,  // queries, keys and values
  linear_values,
  linear_rates,  // two numbers of each of its value heads
  linear_heads,
  linear_head_dim,
  linear_kernel,
};

/// What a tensor is to the layer that reads it.
enum class LayerPart {
  input_norm,  // of what attention reads
  q,
  k,
  v,
  qkv,  // the three, one below the other
  o,
  attention_norm,     // of what attention adds to the residual stream
  feed_forward_norm,  // of what the feed-forward network reads
  gate,
  up,
  gate_up,  // the two, one below the other
  down,
  output_norm,  // of what the feed-forward network adds
  sinks,        // a score of each head that has no key: logits, as they are
  q_norm,       // of each head, or, where its extent is queries or keys, of all heads together
  k_norm,
  router,       // gives a token to experts
  expert_gate,  // these three of every expert
  expert_up,
  expert_down,
  shared_gate,  // of a network beside the experts: how much of it a token gets
  // Of linear attention by the gated delta rule.
  linear_qkvz,  // q, k, v and the gate of what the heads put out, by turns for each key head
  linear_ba,    // what is put right of the state, and what of it is forgotten, by turns for each key head
  linear_qkv,   // q, k and v, one below the other
  linear_z,     // these three by themselves
  linear_b,
  linear_a,
  linear_conv,     // of q, k and v along the text, a channel each
  linear_a_log,    // of each value head: the logarithm of how fast it forgets
  linear_dt_bias,  // added to a
  linear_norm,     // of what a head puts out
  linear_o,
};
inline constexpr int kLayerParts = 32;

/// Whether a norm of a layer is of the architecture's kind (Norm).
bool is_common_norm(LayerPart part);

/// A tensor of a layer.
struct LayerTensor {
  LayerPart part;
  /// Behind "model.layers.N." and "blk.N.", without the ending. The "{}" of an expert's stands for its number; in GGUF
  /// all experts' are one.
  std::string_view hf, gguf;
  Extent rows = Extent::none, cols = Extent::none;
  std::optional<LayerInput> input;  // of matrices: what it multiplies
  std::string_view hf_ending = ".weight", gguf_ending = ".weight";
  std::string_view gguf_rest = {};   // where `gguf` has only the first rows: what has the others
  std::string_view gguf_whole = {};  // what older files have in the place of these two, in HF's order

  bool of_expert() const { return input == LayerInput::routed || input == LayerInput::routed_gated; }
};

/// Matrices of all experts of a layer that safetensors hold in one tensor of three dimensions, NAME; or, in MXFP4, in
/// NAME_blocks and NAME_scales. Their biases are NAME_bias.
struct ExpertStack {
  std::string_view hf;                           // NAME behind "model.layers.N."
  std::vector<LayerPart> parts;                  // whose rows an expert's part of it has
  bool transposed = false, alternating = false;  // [experts, in, out]; rows of the parts by turns, else part by part
  bool restored = true;                          // dequantized models have it; else a matrix an expert
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
  none,          // whatever the configuration says
  all_layers,    // where sliding_window is not null
  all_if_used,   // where use_sliding_window is true too
  layer_types,   // where use_sliding_window is true: as layer_types say, else from max_window_layers on
  all_or_types,  // as layer_types say, else all where sliding_window is not null
  pattern,       // as layer_types say, else all but every n-th layer
  without_rope,  // where use_sliding_window is true: as layer_types say, else those that do not rotate
};

/// What a norm makes of a row x, by its weight w.
enum class Norm {
  rms,           // x / sqrt(mean(x^2) + eps) * w
  rms_plus_one,  // the same by 1 + w
  layer,         // that of x - mean(x)
};

/// The tensors of a layer of Llama, which others change a little.
std::vector<LayerTensor> llama_tensors();
/// The same with gate and up in one matrix.
std::vector<LayerTensor> with_gate_up();
/// A norm of each head of q and of k.
std::vector<LayerTensor> head_norms();
/// Of a mixture: a router, and gate, up and down of every expert, by HF's names.
std::vector<LayerTensor> expert_tensors(std::string_view router, std::string_view gate, std::string_view up,
                                        std::string_view down);
/// The list with those of linear attention in the place of q, k, v and o, and without their norms.
std::vector<LayerTensor> with_linear_attention(const std::vector<LayerTensor>& tensors,
                                               const std::vector<LayerTensor>& linear);
/// The list without gate, up and down.
std::vector<LayerTensor> without_feed_forward(const std::vector<LayerTensor>& tensors);
/// The one list and then the other.
std::vector<LayerTensor> operator+(std::vector<LayerTensor> tensors, const std::vector<LayerTensor>& more);
std::vector<ConfigField> operator+(std::vector<ConfigField> fields, const std::vector<ConfigField>& more);
/// The list with others, or none, in the place of a part that it has.
std::vector<LayerTensor> replaced(const std::vector<LayerTensor>& tensors, LayerPart part,
                                  const std::vector<LayerTensor>& by);

struct Architecture {
  std::string_view name;                                      // HF's model_type
  std::string_view gguf_name = {};                            // llama.cpp's; empty: not read from GGUF
  std::string_view gguf_written = {};                         // what it is called in files that are written, if else
  std::string_view gguf_mixture = {};                         // HF's name of what that is in GGUF where it has experts
  std::vector<std::string_view> also = {};                    // other model_types whose text decoder computes the same
  std::string_view class_name;                                // "Llama" of "LlamaForCausalLM"
  std::vector<LayerTensor> tensors = llama_tensors();         // of a layer, in the order in which runtimes list them
  std::vector<LayerTensor> mixture_tensors = {};              // likewise of a layer with experts; empty: there are none
  std::vector<ExpertStack> stacks = {};                       // of mixture_tensors in safetensors
  std::string_view newer_module = {}, published_module = {};  // what transformers 5 calls "block_sparse_moe."; that
  std::vector<LayerTensor> linear_tensors = {};               // of a layer with linear attention
  std::vector<LayerTensor> linear_mixture_tensors = {};       // likewise with experts
  bool gguf_permutes_rows = false;      // of q and k: llama.cpp's converter pairs neighbouring rows
  bool gguf_tiles_value_heads = false;  // it puts linear attention's into another order
  Norm norm = Norm::rms;
  bool gated_queries = false;            // q makes a query of each head, and a gate of what it puts out
  bool parallel = false;                 // attention and feed-forward network read the same input
  bool rotates_in_windows_only = false;  // other layers have no rotary embedding
  bool rotates_neighbours = false;       // rotary embedding pairs elements 2i and 2i + 1, not i and i + half
  Bias attention_bias = Bias::never;     // of q, k and v; by_config: attention_bias
  Bias output_bias = Bias::never;        // of o; by_config: attention_bias
  Bias mlp_bias = Bias::never;           // by_config: mlp_bias
  bool default_attention_bias = false;
  WindowRule window = WindowRule::none;
  std::optional<int64_t> default_window = {};  // where sliding_window is missing
  int64_t window_pattern = 0;                  // of WindowRule::pattern: every n-th layer sees all
  std::string_view window_pattern_field = {};  // that says otherwise; empty: none
  int64_t default_max_positions = 0;
  std::optional<int64_t> default_original_positions = {};  // where original_max_position_embeddings is missing
  std::optional<int64_t> default_kv_heads = {};  // where num_key_value_heads is missing; none: as many as heads
  std::optional<int64_t> default_head_dim = {};  // where head_dim is missing; none: hidden_size / heads
  int64_t default_heads = 0, default_vocab = 0;  // where they may be missing
  double default_rope_theta = 10000, default_rotary_part = 1;
  std::string_view window_rope_field =
      {};                      // the base of layers with a window, where they have another; empty: they have not
  bool dense_networks = true;  // of intermediate_size; false: no layer has one
  double default_eps = 1e-6;
  bool default_tie = false;
  std::string_view eps_field = "rms_norm_eps", activation_field = "hidden_act";
  std::string_view default_activation = "silu";
  bool clamped_activation = false;                    // gpt-oss's, whatever the configuration says
  std::vector<std::string_view> longrope_names = {};  // other names of that type of rope_scaling
  /// Fields beyond those that every architecture has, from config.json and back. Null: none.
  void (*read_config)(const ConfigFields& fields, ModelConfig& config) = nullptr;
  void (*write_config)(const ModelConfig& config, nlohmann::ordered_json& json) = nullptr;
  std::vector<ConfigField> own_fields = {};  // beside those of every architecture
  /// What GGUF metadata say beyond what every architecture has there, and what llama.cpp takes for granted. Null: none.
  void (*read_gguf)(const GgufFields& fields, ModelConfig& config) = nullptr;
  /// The other way round. Null: nothing.
  void (*write_gguf)(const ModelConfig& config, GgufKeys& keys) = nullptr;
  std::vector<ConfigField> own_gguf_fields = {};  // keys behind "<architecture>.", likewise

  /// The tensors of a layer of that kind.
  const std::vector<LayerTensor>& tensors_of(bool linear, bool mixture) const {
    if (linear) return mixture ? linear_mixture_tensors : linear_tensors;
    return mixture ? mixture_tensors : tensors;
  }
  /// general.architecture of files that llama.cpp loads; empty: it has none.
  std::string_view written_gguf_name() const { return gguf_written.empty() ? gguf_name : gguf_written; }
  /// The table's entry of a field of config.json; null where nobody knows it.
  const ConfigField* find_field(std::string_view field) const;
  /// The same of a GGUF key behind "<architecture>.".
  const ConfigField* find_gguf_field(std::string_view key) const;
};

std::span<const Architecture* const> architectures();
/// By model_type, other names included; null where it is none of them.
const Architecture* find_architecture(std::string_view model_type);
/// By GGUF's general.architecture.
const Architecture* find_gguf_architecture(std::string_view name);
/// "llama, mistral, ...", for messages; of those that GGUF has too, by its names.
std::string architecture_names();
std::string gguf_architecture_names();
/// HF's names of those that can be written as GGUF.
std::string written_gguf_architecture_names();

/// Modules that runtimes compute with one matrix: of a block, by the last parts of their names; or all experts' of a
/// layer.
struct FusedModules {
  std::string_view name;  // "qkv"
  std::vector<std::string_view> modules;
  std::string_view numbered = {};  // what stands before the number of each in names: "experts"
};
/// The experts of one role in a layer, which are one tensor in many formats.
inline constexpr std::string_view kExpertStacks = "experts";
/// Of all of architectures(): qkv, gate_up, experts.
std::span<const FusedModules> fused_modules();

/// Each in a file of its own.
const Architecture& llama_architecture();
const Architecture& mistral_architecture();
const Architecture& ministral_architecture();
const Architecture& qwen2_architecture();
const Architecture& qwen3_architecture();
const Architecture& gemma2_architecture();
const Architecture& gemma3_architecture();
const Architecture& phi3_architecture();
const Architecture& smollm3_architecture();
const Architecture& olmo2_architecture();
const Architecture& granite_architecture();
const Architecture& glm4_architecture();
const Architecture& cohere2_architecture();
const Architecture& mixtral_architecture();
const Architecture& qwen2_moe_architecture();
const Architecture& qwen3_moe_architecture();
const Architecture& gpt_oss_architecture();
const Architecture& qwen3_next_architecture();
const Architecture& qwen3_5_architecture();
const Architecture& qwen3_5_moe_architecture();

}  // namespace mxq
