// gpt-oss: experts with biases and a clamped activation, attention sinks, a window in every second layer.
#include "model/arch/mixture_fields.h"
#include "model/config_checks.h"

namespace mxq {

namespace {

constexpr const char* kExperts = "num_local_experts";

/// What GptOssConfig has where rope_scaling is missing, and all published models.
RopeScaling usual_scaling() {
  RopeScaling rope;
  rope.type = "yarn";
  rope.factor = 32;
  rope.original_max_position_embeddings = 4096;
  rope.truncate = false;
  return rope;
}

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  read_experts(fields, kExperts,
               {.experts = 128, .per_token = 4, .intermediate_size = config.intermediate_size, .biases = true}, config);
  if (config.mixture.experts == 0) config.unsupported.push_back({"'num_local_experts' is 0", "1 or more"});
  // The default of head_dim stands for a missing one only.
  if (fields.contains("head_dim") && fields.find("head_dim") == nullptr) {
    config.head_dim = default_head_dim(config, fields.source());
  }
  if (!fields.contains("rope_scaling") && !fields.contains("rope_parameters")) config.rope.scaling = usual_scaling();
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_experts(config, kExperts, json);
}

void read_keys(const GgufFields& fields, ModelConfig& config) {
  read_gguf_experts(fields, /*normalised=*/true, std::nullopt, config);
  config.mixture.biases = true;
  config.intermediate_size = config.mixture.intermediate_size =
      fields.get_int("expert_feed_forward_length", 1, kMaxExtent);
  config.sliding_window = fields.get_int("attention.sliding_window", 1, kMaxContext);
  // GGUF does not say it.
  if (config.rope.scaling && config.rope.scaling->type == "yarn") config.rope.scaling->truncate = false;
}

std::vector<LayerTensor> tensors() {
  using enum Extent;
  auto attention =
      replaced(without_feed_forward(llama_tensors()), LayerPart::feed_forward_norm,
               {{LayerPart::sinks, "self_attn.sinks", "attn_sinks", heads, none, {}, ""},
                {LayerPart::feed_forward_norm, "post_attention_layernorm", "post_attention_norm", hidden, none, {}}});
  return attention +
         expert_tensors("mlp.router", "mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj", "mlp.experts.{}.down_proj");
}

}  // namespace

const Architecture& gpt_oss_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "gpt_oss",
      .gguf_name = "gpt-oss",
      .class_name = "GptOss",
      .mixture_tensors = tensors(),
      .stacks = {{"mlp.experts.gate_up_proj", {LayerPart::expert_gate, LayerPart::expert_up}, true, true},
                 {"mlp.experts.down_proj", {LayerPart::expert_down}, true}},
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .default_attention_bias = true,
      .window = WindowRule::pattern,
      .default_window = 128,
      .window_pattern = 2,
      .default_max_positions = 131072,
      .default_kv_heads = 8,
      .default_head_dim = 64,
      .default_heads = 64,
      .default_vocab = 201088,
      .default_rope_theta = 150000,
      .default_eps = 1e-5,
      .clamped_activation = true,
      .read_config = read_fields,
      .write_config = write_fields,
      .own_fields = training_fields() + std::vector<ConfigField>{{kExperts, read},
                                                                 {"num_experts_per_tok", read},
                                                                 {"attention_bias", read},
                                                                 {"sliding_window", read},
                                                                 {"layer_types", read},
                                                                 {"swiglu_limit", only, {"7.0", "7"}},
                                                                 // transformers 4.57's gpt-oss reads none of these.
                                                                 {"hidden_act", ignored},
                                                                 {"experts_per_token", ignored},
                                                                 {"initial_context_length", ignored},
                                                                 {"mlp_bias", ignored},
                                                                 {"use_sliding_window", ignored},
                                                                 {"max_window_layers", ignored}},
      .read_gguf = read_keys,
      .write_gguf = write_gguf_experts,
      // The softmax of those that are picked, whatever the key says.
      .own_gguf_fields = std::vector<ConfigField>{{"expert_gating_func", only, {"0", "3"}}} + gguf_mixture_fields(),
  };
  return architecture;
}

}  // namespace mxq
