// Gemma 3, of text: Gemma 2 with norms of the heads of q and k instead of soft caps, a window in five layers of six, and
// another rotary embedding in those.
#include "model/arch/gemma.h"

namespace mxq {

namespace {

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  read_gemma(fields, config);
  config.logit_cap = fields.find_positive("final_logit_softcapping").value_or(0);
  config.window_rope = RopeSettings{.theta = fields.find_positive("rope_local_base_freq").value_or(10000), .scaling = {}};
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_gemma(config, json);
  json["final_logit_softcapping"] = config.logit_cap > 0 ? nlohmann::ordered_json(config.logit_cap) : nullptr;
  if (config.window_rope) json["rope_local_base_freq"] = config.window_rope->theta;
}

}  // namespace

const Architecture& gemma3_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "gemma3_text",
      .also = {"gemma3"},
      .class_name = "Gemma3",
      .tensors = gemma_tensors() + head_norms(),
      .gguf_adds_one = true,
      .norm = Norm::rms_plus_one,
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .window = WindowRule::pattern,
      .default_window = 4096,
      .window_pattern = 6,
      .window_pattern_field = "sliding_window_pattern",
      .default_max_positions = 131072,
      .default_kv_heads = 4,
      .default_head_dim = 256,
      .default_heads = 8,
      .default_vocab = 262208,
      .default_rope_theta = 1e6,
      .default_tie = true,
      .activation_field = "hidden_activation",
      .default_activation = "gelu_pytorch_tanh",
      .read_config = read_fields,
      .write_config = write_fields,
      .own_fields = {{"attention_bias", read},
                     {"hidden_activation", read},
                     {"query_pre_attn_scalar", read},
                     {"sliding_window", read},
                     {"sliding_window_pattern", read},
                     {"_sliding_window_pattern", ignored},  // what transformers keeps of it beside layer_types
                     {"layer_types", read},
                     {"final_logit_softcapping", read},
                     {"rope_local_base_freq", read},
                     // transformers 4.57's Gemma 3 reads none of these.
                     {"attn_logit_softcapping", ignored},
                     {"hidden_act", ignored},
                     {"cache_implementation", ignored},
                     {"use_sliding_window", ignored},
                     {"mlp_bias", ignored},
                     // What surrounds the text: the vision tower stays as it is.
                     {"vision_config", ignored},
                     {"mm_tokens_per_image", ignored},
                     {"boi_token_index", ignored},
                     {"eoi_token_index", ignored},
                     {"image_token_index", ignored}},
  };
  return architecture;
}

}  // namespace mxq
