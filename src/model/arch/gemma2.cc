// Gemma 2: norms before and behind attention and the feed-forward network, soft caps, a window in every other layer.
#include "model/arch/gemma.h"

namespace mxq {

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

void read_keys(const GgufFields& fields, ModelConfig& config) {
  read_gemma_gguf(46, config);
  // Where a key is missing llama.cpp has Google's caps too; 0 is none.
  const auto cap = [&](const char* name, double usual) {
    return fields.contains(name) ? fields.find_unless_0(name).value_or(0) : usual;
  };
  config.score_cap = cap("attn_logit_softcapping", 50);
  config.logit_cap = cap("final_logit_softcapping", 30);
}

void write_keys(const ModelConfig& config, GgufKeys& keys) {
  keys.f32("attn_logit_softcapping", config.score_cap);
  keys.f32("final_logit_softcapping", config.logit_cap);
}

}  // namespace

const Architecture& gemma2_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture = [] {
    Architecture gemma = gemma_family();
    gemma.name = "gemma2";
    gemma.gguf_name = "gemma2";
    gemma.class_name = "Gemma2";
    gemma.window_pattern = 2;
    gemma.default_max_positions = 8192;
    gemma.default_vocab = 256000;
    gemma.read_config = read_fields;
    gemma.write_config = write_fields;
    gemma.read_gguf = read_keys;
    gemma.write_gguf = write_keys;
    gemma.own_gguf_fields.push_back({"attn_logit_softcapping", read});
    gemma.own_fields.push_back({"attn_logit_softcapping", read});
    gemma.own_fields.push_back({"sliding_window_pattern", ignored});  // by transformers 4.57's Gemma 2
    return gemma;
  }();
  return architecture;
}

}  // namespace mxq
