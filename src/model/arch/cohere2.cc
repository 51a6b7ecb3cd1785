// Command R7B and what else is Cohere 2: attention and feed-forward network side by side, LayerNorm, rotary embedding
// of neighbours in three layers of four, which have a window.
#include <nlohmann/json.hpp>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_checks.h"
#include "model/config_fields.h"
#include "model/gguf_fields.h"
#include "model/gguf_keys.h"

namespace mxq {

namespace {

std::vector<LayerTensor> tensors() {
  auto tensors = replaced(llama_tensors(), LayerPart::feed_forward_norm, {});
  for (LayerTensor& tensor : tensors) {
    if (tensor.input == LayerInput::feed_forward) tensor.input = LayerInput::attention;
  }
  return tensors;
}

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  config.logit_scale = fields.find_positive("logit_scale").value_or(0.0625);
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  json["logit_scale"] = config.logit_scale;
}

void read_keys(const GgufFields& fields, ModelConfig& config) {
  config.logit_scale = fields.get_positive("logit_scale");
  config.sliding_window = fields.get_int("attention.sliding_window", 1, kMaxContext);
}

void write_keys(const ModelConfig& config, GgufKeys& keys) {
  keys.f32("logit_scale", config.logit_scale);
}

}  // namespace

const Architecture& cohere2_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "cohere2",
      .gguf_name = "cohere2",
      .class_name = "Cohere2",
      .tensors = tensors(),
      .norm = Norm::layer,
      .parallel = true,
      .rotates_in_windows_only = true,
      .rotates_neighbours = true,
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .window = WindowRule::pattern,
      .default_window = 4096,
      .window_pattern = 4,
      .window_pattern_field = "sliding_window_pattern",
      .default_max_positions = 8192,
      .default_eps = 1e-5,
      .default_tie = true,
      .eps_field = "layer_norm_eps",
      .read_config = read_fields,
      .write_config = write_fields,
      .own_fields = {{"layer_norm_eps", read},
                     {"logit_scale", read},
                     {"attention_bias", read},
                     {"sliding_window", read},
                     {"sliding_window_pattern", read},
                     {"_sliding_window_pattern", ignored},  // what transformers keeps of it beside layer_types
                     {"layer_types", read},
                     // transformers 4.57's Cohere 2 reads none of these.
                     {"rms_norm_eps", ignored},
                     {"mlp_bias", ignored},
                     {"use_sliding_window", ignored},
                     {"cache_implementation", ignored},
                     {"order_of_interleaved_layers", ignored},
                     {"rotary_pct", ignored},
                     {"position_embedding_type", ignored},
                     {"use_embedding_sharing", ignored},
                     {"use_gated_activation", ignored},
                     {"use_parallel_block", ignored},
                     {"use_parallel_embedding", ignored}},
      .read_gguf = read_keys,
      .write_gguf = write_keys,
      .own_gguf_fields = {{"attention.layer_norm_epsilon", read},
                          {"attention.layer_norm_rms_epsilon", ignored},
                          {"attention.sliding_window_pattern", read},
                          {"logit_scale", read}},
  };
  return architecture;
}

}  // namespace mxq
