// Qwen2-MoE and Qwen1.5-MoE: Qwen2 with experts, beside which a network with a gate of its own sees every token.
#include "model/arch/mixture_fields.h"
#include "model/config_checks.h"

namespace mxq {

namespace {

constexpr const char* kBias = "qkv_bias";

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  read_qwen_mixture(
      fields, kQwenExperts,
      {.experts = 60, .per_token = 4, .intermediate_size = 1408, .shared_intermediate_size = 5632, .normalised = false},
      config);
  config.attention_bias = fields.get_bool(kBias, true);
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_qwen_mixture(config, json);
  json[kBias] = config.attention_bias;
}

void read_keys(const GgufFields& fields, ModelConfig& config) {
  read_gguf_shared_experts(fields, /*normalised=*/false, config);
}

}  // namespace

const Architecture& qwen2_moe_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "qwen2_moe",
      .gguf_name = "qwen2moe",
      .class_name = "Qwen2Moe",
      .mixture_tensors = without_feed_forward(llama_tensors()) + qwen_mixture_tensors(/*shared=*/true),
      .stacks = joined_stacks(/*restored=*/false),
      .attention_bias = Bias::by_config,
      .window = WindowRule::all_if_used,
      .default_window = 4096,
      .default_max_positions = 32768,
      .default_kv_heads = 16,
      .read_config = read_fields,
      .write_config = write_fields,
      .own_fields = qwen_mixture_fields(/*shared=*/true) +
                    std::vector<ConfigField>{{kBias, read},
                                             {"sliding_window", read},
                                             {"use_sliding_window", read},
                                             // Of flash attention only in transformers 4.57.
                                             {"max_window_layers", ignored},
                                             {"attention_bias", ignored},
                                             {"mlp_bias", ignored},
                                             {"layer_types", read}},
      .read_gguf = read_keys,
      .write_gguf = write_gguf_experts,
      .own_gguf_fields = gguf_mixture_fields(),
  };
  return architecture;
}

}  // namespace mxq
