// Gemma 3, of text: Gemma 2 with norms of the heads of q and k instead of soft caps, a window in five layers of six,
// and another rotary embedding in those.
#include <utility>

#include "model/arch/gemma.h"
#include "model/rope_config.h"

namespace mxq {

namespace {

constexpr const char* kWindowBase = "rope_local_base_freq";

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  read_gemma(fields, config);
  config.logit_cap = fields.find_positive("final_logit_softcapping").value_or(0);
  config.window_rope = read_window_rope(fields, gemma3_architecture(), 10000, config);
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_gemma(config, json);
  json["final_logit_softcapping"] = config.logit_cap > 0 ? nlohmann::ordered_json(config.logit_cap) : nullptr;
  if (config.window_rope) json[kWindowBase] = config.window_rope->theta;
}

void read_keys(const GgufFields& fields, ModelConfig& config) {
  read_gemma_gguf(62, config);
  config.logit_cap = fields.find_unless_0("final_logit_softcapping").value_or(0);
  // Converters before 2026 do not say it.
  config.window_rope = RopeSettings{.theta = fields.find_positive("rope.freq_base_swa").value_or(10000), .scaling = {}};
  // A model without windows is converted without the key.
  if (!fields.contains("attention.sliding_window")) {
    config.window_layers.assign(static_cast<size_t>(config.num_hidden_layers), false);
  }
}

void write_keys(const ModelConfig& config, GgufKeys& keys) {
  if (config.logit_cap > 0) keys.f32("final_logit_softcapping", config.logit_cap);
  if (config.window_rope) keys.f32("rope.freq_base_swa", config.window_rope->theta);
}

}  // namespace

const Architecture& gemma3_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture = [] {
    Architecture gemma = gemma_family();
    gemma.name = "gemma3_text";
    gemma.gguf_name = "gemma3";
    gemma.also = {"gemma3"};
    gemma.class_name = "Gemma3";
    gemma.tensors = std::move(gemma.tensors) + head_norms();
    gemma.window_pattern = 6;
    gemma.window_pattern_field = "sliding_window_pattern";
    gemma.default_max_positions = 131072;
    gemma.default_vocab = 262208;
    gemma.default_rope_theta = 1e6;
    gemma.window_rope_field = kWindowBase;
    gemma.read_config = read_fields;
    gemma.write_config = write_fields;
    gemma.read_gguf = read_keys;
    gemma.write_gguf = write_keys;
    for (const ConfigField& field :
         {ConfigField{"rope.freq_base_swa", read},
          // Ollama's own converter has these, which llama.cpp does not read.
          ConfigField{"rope.global.freq_base", only}, ConfigField{"rope.local.freq_base", only},
          ConfigField{"rope.freq_scale", only, {"1"}}}) {
      gemma.own_gguf_fields.push_back(field);
    }
    for (const ConfigField& field :
         {ConfigField{"sliding_window_pattern", read},
          ConfigField{"_sliding_window_pattern", ignored},  // what transformers keeps of it beside layer_types
          ConfigField{kWindowBase, read},
          ConfigField{"attn_logit_softcapping", ignored},  // by transformers 4.57's Gemma 3
          // What surrounds the text: the vision tower stays as it is.
          ConfigField{"vision_config", ignored}, ConfigField{"mm_tokens_per_image", ignored},
          ConfigField{"boi_token_index", ignored}, ConfigField{"eoi_token_index", ignored},
          ConfigField{"image_token_index", ignored}}) {
      gemma.own_fields.push_back(field);
    }
    return gemma;
  }();
  return architecture;
}

}  // namespace mxq
