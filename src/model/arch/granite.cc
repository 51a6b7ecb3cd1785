// Granite: Llama with four multipliers.
#include <cmath>
#include <nlohmann/json.hpp>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_fields.h"
#include "model/gguf_fields.h"
#include "model/gguf_keys.h"

namespace mxq {

namespace {

constexpr const char *kEmbedding = "embedding_multiplier", *kAttention = "attention_multiplier",
                     *kResidual = "residual_multiplier", *kLogits = "logits_scaling";

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  config.embedding_scale = fields.find_positive(kEmbedding).value_or(1);
  config.score_scale = fields.find_positive(kAttention).value_or(1);
  config.residual_scale = fields.find_positive(kResidual).value_or(1);
  config.logit_scale = 1 / fields.find_positive(kLogits).value_or(1);
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  json[kEmbedding] = config.embedding_scale;
  json[kAttention] = config.score_scale.value_or(1);
  json[kResidual] = config.residual_scale;
  json[kLogits] = 1 / config.logit_scale;
}

// 0 and a missing key mean to llama.cpp that it does not multiply. It divides by the logits' number, as transformers
// does.
void read_keys(const GgufFields& fields, ModelConfig& config) {
  config.embedding_scale = fields.find_unless_0("embedding_scale").value_or(1);
  config.score_scale = fields.find_unless_0("attention.scale").value_or(config.usual_score_scale());
  config.residual_scale = fields.find_unless_0("residual_scale").value_or(1);
  config.logit_scale = 1 / fields.get_positive("logit_scale");
}

void write_keys(const ModelConfig& config, GgufKeys& keys) {
  keys.f32("embedding_scale", config.embedding_scale);
  keys.f32("attention.scale", config.score_scale.value_or(config.usual_score_scale()));
  keys.f32("residual_scale", config.residual_scale);
  keys.f32("logit_scale", 1 / config.logit_scale);
}

}  // namespace

const Architecture& granite_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "granite",
      .gguf_name = "granite",
      .class_name = "Granite",
      .gguf_permutes_rows = true,
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .mlp_bias = Bias::by_config,
      .default_max_positions = 2048,
      .read_config = read_fields,
      .write_config = write_fields,
      .own_fields = {{kEmbedding, read},
                     {kAttention, read},
                     {kResidual, read},
                     {kLogits, read},
                     {"attention_bias", read},
                     {"mlp_bias", read},
                     // transformers 4.57's Granite reads none of these.
                     {"sliding_window", ignored},
                     {"use_sliding_window", ignored},
                     {"layer_types", ignored}},
      .read_gguf = read_keys,
      .write_gguf = write_keys,
      .own_gguf_fields = {{"attention.scale", read},
                          {"embedding_scale", read},
                          {"residual_scale", read},
                          {"logit_scale", read},
                          {"rope.scaling.finetuned", only, {"true"}}},  // whether llama.cpp rotates at all
  };
  return architecture;
}

}  // namespace mxq
