#include "model/arch/qwen3_5_fields.h"

#include "model/config_checks.h"

namespace mxq {

namespace {

constexpr const char *kMtpLayers = "mtp_num_hidden_layers", *kSections = "rope.dimension_sections";

}  // namespace

std::vector<LayerTensor> qwen3_5_linear_tensors() {
  using enum Extent;
  constexpr LayerInput input = LayerInput::attention;
  return delta_rule_tensors(
      {{LayerPart::linear_qkv, "linear_attn.in_proj_qkv", "attn_qkv", linear_channels, hidden, input},
       {LayerPart::linear_z, "linear_attn.in_proj_z", "attn_gate", linear_values, hidden, input},
       {LayerPart::linear_b, "linear_attn.in_proj_b", "ssm_beta", linear_heads, hidden, input},
       {LayerPart::linear_a, "linear_attn.in_proj_a", "ssm_alpha", linear_heads, hidden, input}});
}

void read_qwen3_5(const ConfigFields& fields, ModelConfig& config) {
  read_linear_attention(fields, config);
  config.mtp_layers = fields.find_int(kMtpLayers, 0, kMaxLayers).value_or(0);
}

void write_qwen3_5(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_linear_attention(config, json);
  if (config.mtp_layers > 0) json[kMtpLayers] = config.mtp_layers;
}

std::vector<ConfigField> qwen3_5_fields() {
  using enum ConfigField::Use;
  return linear_attention_fields() + std::vector<ConfigField>{
                                         {kMtpLayers, read},
                                         {"mtp_use_dedicated_embeddings", ignored},
                                         // How a kernel keeps the state; mxq keeps it in fp32.
                                         {"mamba_ssm_dtype", ignored},
                                         // What surrounds the text: the vision tower stays as it is.
                                         {"vision_config", ignored},
                                         {"image_token_id", ignored},
                                         {"video_token_id", ignored},
                                         {"vision_start_token_id", ignored},
                                         {"vision_end_token_id", ignored},
                                     };
}

void write_gguf_qwen3_5(const ModelConfig& config, GgufKeys& keys) {
  write_gguf_linear_attention(config, keys);
  // llama.cpp requires it. In a text all three parts of a token's place are the same, so that any cut computes the
  // same; thirds are the published models'.
  const auto pairs = static_cast<int32_t>(config.rotary_dim() / 2);
  keys.i32s(kSections, {(pairs + 2) / 3, (pairs + 1) / 3, pairs / 3, 0});
}

std::vector<ConfigField> gguf_qwen3_5_fields() {
  using enum ConfigField::Use;
  return gguf_linear_attention_fields() + std::vector<ConfigField>{
                                              // Of images' rows and columns; in a text all are the token's place.
                                              {kSections, ignored},
                                              {"nextn_predict_layers", read},
                                          };
}

}  // namespace mxq
