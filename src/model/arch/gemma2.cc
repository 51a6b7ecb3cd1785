// Gemma 2: norms before and behind attention and the feed-forward network, soft caps, a window in every other layer.
#include "model/arch/gemma.h"

namespace mxq {

std::vector<LayerTensor> gemma_tensors() {
  using enum Extent;
  std::vector<LayerTensor> tensors;
  for (const LayerTensor& tensor : llama_tensors()) {
    if (tensor.part == LayerPart::feed_forward_norm) {
      tensors.push_back({LayerPart::attention_norm, "post_attention_layernorm", "post_attention_norm", hidden, none, {}});
      tensors.push_back({LayerPart::feed_forward_norm, "pre_feedforward_layernorm", "ffn_norm", hidden, none, {}});
    } else {
      tensors.push_back(tensor);
    }
  }
  tensors.push_back({LayerPart::output_norm, "post_feedforward_layernorm", "post_ffw_norm", hidden, none, {}});
  return tensors;
}

void read_gemma(const ConfigFields& fields, ModelConfig& config) {
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  config.score_scale = 1 / std::sqrt(fields.find_positive("query_pre_attn_scalar").value_or(256));
}

void write_gemma(const ModelConfig& config, nlohmann::ordered_json& json) {
  const double scale = config.score_scale.value_or(1 / std::sqrt(static_cast<double>(config.head_dim)));
  json["query_pre_attn_scalar"] = std::round(1 / (scale * scale));
}

namespace {

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  read_gemma(fields, config);
  const auto cap = [&](const char* name, double usual) {
    return fields.contains(name) ? fields.find_positive(name).value_or(0) : usual;
  };
  config.score_cap = cap("attn_logit_softcapping", 50);
  config.logit_cap = cap("final_logit_softcapping", 30);
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_gemma(config, json);
  const auto cap = [&](double value) { return value > 0 ? nlohmann::ordered_json(value) : nullptr; };
  json["attn_logit_softcapping"] = cap(config.score_cap);
  json["final_logit_softcapping"] = cap(config.logit_cap);
}

}  // namespace

const Architecture& gemma2_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "gemma2",
      .class_name = "Gemma2",
      .tensors = gemma_tensors(),
      .gguf_adds_one = true,
      .norm = Norm::rms_plus_one,
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .window = WindowRule::pattern,
      .default_window = 4096,
      .window_pattern = 2,
      .default_max_positions = 8192,
      .default_kv_heads = 4,
      .default_head_dim = 256,
      .default_heads = 8,
      .default_vocab = 256000,
      .default_tie = true,
      .activation_field = "hidden_activation",
      .default_activation = "gelu_pytorch_tanh",
      .read_config = read_fields,
      .write_config = write_fields,
      .own_fields = {{"attention_bias", read},
                     {"hidden_activation", read},
                     {"query_pre_attn_scalar", read},
                     {"sliding_window", read},
                     {"layer_types", read},
                     {"attn_logit_softcapping", read},
                     {"final_logit_softcapping", read},
                     // transformers 4.57's Gemma 2 reads none of these.
                     {"hidden_act", ignored},
                     {"cache_implementation", ignored},
                     {"sliding_window_pattern", ignored},
                     {"use_sliding_window", ignored},
                     {"mlp_bias", ignored}},
  };
  return architecture;
}

}  // namespace mxq
