#include "model/arch/gemma.h"

#include <algorithm>
#include <cmath>

namespace mxq {

Architecture gemma_family() {
  using enum ConfigField::Use;
  using enum Extent;
  return {
      .name = {},
      .class_name = {},
      .tensors =
          replaced(llama_tensors(), LayerPart::feed_forward_norm,
                   {{LayerPart::attention_norm, "post_attention_layernorm", "post_attention_norm", hidden, none, {}},
                    {LayerPart::feed_forward_norm, "pre_feedforward_layernorm", "ffn_norm", hidden, none, {}}}) +
          std::vector<LayerTensor>{
              {LayerPart::output_norm, "post_feedforward_layernorm", "post_ffw_norm", hidden, none, {}}},
      .norm = Norm::rms_plus_one,
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .window = WindowRule::pattern,
      .default_window = 4096,
      .default_kv_heads = 4,
      .default_head_dim = 256,
      .default_heads = 8,
      .default_tie = true,
      .activation_field = "hidden_activation",
      .default_activation = "gelu_pytorch_tanh",
      .own_fields = {{"attention_bias", read},
                     {"hidden_activation", read},
                     {"query_pre_attn_scalar", read},
                     {"sliding_window", read},
                     {"layer_types", read},
                     {"final_logit_softcapping", read},
                     // transformers 4.57's Gemmas read none of these.
                     {"hidden_act", ignored},
                     {"cache_implementation", ignored},
                     {"use_sliding_window", ignored},
                     {"mlp_bias", ignored}},
      .own_gguf_fields = {{"final_logit_softcapping", read}, {"attention.sliding_window_pattern", read}},
  };
}

void read_gemma(const ConfigFields& fields, ModelConfig& config) {
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  config.score_scale = 1 / std::sqrt(fields.find_positive("query_pre_attn_scalar").value_or(256));
}

void read_gemma_gguf(int64_t layers_of_27b, ModelConfig& config) {
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  const int64_t scalar =
      config.num_hidden_layers == layers_of_27b ? config.hidden_size / config.num_attention_heads : config.head_dim;
  config.score_scale = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(scalar, 1)));
}

void write_gemma(const ModelConfig& config, nlohmann::ordered_json& json) {
  const double scale = config.score_scale.value_or(config.usual_score_scale());
  json["query_pre_attn_scalar"] = std::llround(1 / (scale * scale));  // transformers 5 wants it whole
}

}  // namespace mxq
