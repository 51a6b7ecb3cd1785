#include "model/arch/mixture_fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/config_checks.h"

namespace mxq {

namespace {

constexpr const char *kPerToken = "num_experts_per_tok", *kSize = "moe_intermediate_size",
                     *kShared = "shared_expert_intermediate_size", *kNormalised = "norm_topk_prob",
                     *kStep = "decoder_sparse_step", *kDense = "mlp_only_layers";

}  // namespace

void read_experts(const ConfigFields& fields, const char* field, const Mixture& usual, ModelConfig& config) {
  Mixture& mixture = config.mixture = usual;
  mixture.experts = fields.find_int(field, 0, kMaxExperts).value_or(usual.experts);
  if (mixture.experts == 0) {
    mixture = {};
    return;
  }
  mixture.per_token = fields.find_int(kPerToken, 1, kMaxExperts).value_or(usual.per_token);
  if (mixture.per_token <= mixture.experts) return;
  refuse_config(fields.source(), fmt::format("'{}' is {}", kPerToken, mixture.per_token),
                fmt::format("at most '{}' {}", field, mixture.experts));
}

void write_experts(const ModelConfig& config, const char* field, nlohmann::ordered_json& json) {
  json[field] = config.mixture.experts;
  if (config.mixture.experts > 0) json[kPerToken] = config.mixture.per_token;
}

void read_shared_experts(const ConfigFields& fields, const char* field, const Mixture& usual, ModelConfig& config) {
  read_experts(fields, field, usual, config);
  Mixture& mixture = config.mixture;
  if (mixture.experts == 0) return;
  mixture.intermediate_size = fields.find_int(kSize, 1, kMaxExtent).value_or(usual.intermediate_size);
  if (usual.shared_intermediate_size > 0) {
    mixture.shared_intermediate_size = fields.find_int(kShared, 1, kMaxExtent).value_or(usual.shared_intermediate_size);
  }
}

void write_shared_experts(const ModelConfig& config, nlohmann::ordered_json& json) {
  const Mixture& mixture = config.mixture;
  write_experts(config, kQwenExperts, json);
  if (mixture.experts == 0) return;
  json[kSize] = mixture.intermediate_size;
  if (mixture.shared_intermediate_size > 0) json[kShared] = mixture.shared_intermediate_size;
}

void read_qwen_mixture(const ConfigFields& fields, const char* field, const Mixture& usual, ModelConfig& config) {
  read_shared_experts(fields, field, usual, config);
  const int64_t step = fields.find_int(kStep, 1, kMaxExtent).value_or(1);
  const nlohmann::json* const dense = fields.find(kDense);
  if (dense != nullptr && !(dense->is_array() && std::all_of(dense->begin(), dense->end(),
                                                             [](const auto& i) { return i.is_number_integer(); }))) {
    refuse_config(fields.source(), fmt::format("'{}' is {}", kDense, shown(*dense)), "a list of layers");
  }
  Mixture& mixture = config.mixture;
  if (mixture.experts == 0) return;
  mixture.normalised = fields.get_bool(kNormalised, usual.normalised);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const bool named = dense != nullptr && std::find(dense->begin(), dense->end(), i) != dense->end();
    mixture.layers.push_back(!named && (i + 1) % step == 0);
  }
  if (std::find(mixture.layers.begin(), mixture.layers.end(), false) == mixture.layers.end()) mixture.layers.clear();
}

void write_qwen_mixture(const ModelConfig& config, nlohmann::ordered_json& json) {
  const Mixture& mixture = config.mixture;
  write_shared_experts(config, json);
  if (mixture.experts == 0) return;
  json[kNormalised] = mixture.normalised;
  json[kStep] = 1;
  auto& dense = json[kDense] = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    if (!config.has_experts(i)) dense.push_back(i);
  }
}

std::vector<ConfigField> qwen_mixture_fields(bool shared) {
  std::vector<ConfigField> fields = training_fields();
  for (const char* name : {kQwenExperts, kPerToken, kSize, kNormalised, kStep, kDense}) {
    fields.push_back({name, ConfigField::read});
  }
  if (shared) fields.push_back({kShared, ConfigField::read});
  return fields;
}

std::vector<LayerTensor> qwen_mixture_tensors(bool shared) {
  using enum Extent;
  const auto routed =
      expert_tensors("mlp.gate", "mlp.experts.{}.gate_proj", "mlp.experts.{}.up_proj", "mlp.experts.{}.down_proj");
  if (!shared) return routed;
  return routed + std::vector<LayerTensor>{{LayerPart::gate, "mlp.shared_expert.gate_proj", "ffn_gate_shexp",
                                            shared_intermediate, hidden, LayerInput::feed_forward},
                                           {LayerPart::up, "mlp.shared_expert.up_proj", "ffn_up_shexp",
                                            shared_intermediate, hidden, LayerInput::feed_forward},
                                           {LayerPart::down, "mlp.shared_expert.down_proj", "ffn_down_shexp", hidden,
                                            shared_intermediate, LayerInput::gated},
                                           {LayerPart::shared_gate, "mlp.shared_expert_gate", "ffn_gate_inp_shexp", one,
                                            hidden, LayerInput::feed_forward}};
}

std::vector<ExpertStack> joined_stacks(bool restored) {
  return {
      {.hf = "mlp.experts.gate_up_proj", .parts = {LayerPart::expert_gate, LayerPart::expert_up}, .restored = restored},
      {.hf = "mlp.experts.down_proj", .parts = {LayerPart::expert_down}, .restored = restored}};
}

void read_gguf_experts(const GgufFields& fields, bool normalised, std::optional<int64_t> usual_size,
                       ModelConfig& config) {
  Mixture& mixture = config.mixture;
  mixture.experts = fields.get_int("expert_count", 1, kMaxExperts);
  mixture.per_token = fields.get_int("expert_used_count", 1, mixture.experts);
  mixture.normalised = normalised;
  mixture.intermediate_size = fields.find_int("expert_feed_forward_length", 1, kMaxExtent)
                                  .value_or(usual_size.value_or(config.intermediate_size / mixture.per_token));
}

void read_gguf_shared_experts(const GgufFields& fields, bool normalised, ModelConfig& config) {
  read_gguf_experts(fields, normalised, std::nullopt, config);
  config.mixture.shared_intermediate_size =
      fields.find_int("expert_shared_feed_forward_length", 1, kMaxExtent).value_or(config.intermediate_size);
}

void write_gguf_experts(const ModelConfig& config, GgufKeys& keys) {
  const Mixture& mixture = config.mixture;
  if (mixture.experts == 0) return;
  keys.u32("expert_count", mixture.experts);
  keys.u32("expert_used_count", mixture.per_token);
  keys.u32("expert_feed_forward_length", mixture.intermediate_size);
  if (mixture.shared_intermediate_size > 0) {
    keys.u32("expert_shared_feed_forward_length", mixture.shared_intermediate_size);
  }
}

std::vector<ConfigField> gguf_mixture_fields() {
  using enum ConfigField::Use;
  // llama.cpp reads what is "only" here for other mixtures.
  return {{"expert_count", read},
          {"expert_used_count", read},
          {"expert_feed_forward_length", read},
          {"expert_shared_feed_forward_length", read},
          {"expert_shared_count", only, {"0", "1"}},
          {"expert_weights_scale", only, {"0", "1"}},
          {"expert_gating_func", only, {"0", "1"}},  // softmax
          {"expert_group_count", only, {"0", "1"}},
          {"expert_group_used_count", only, {"0", "1"}},
          {"leading_dense_block_count", only, {"0"}},
          {"moe_every_n_layers", only, {"0", "1"}}};
}

std::vector<ConfigField> training_fields() {
  std::vector<ConfigField> fields;
  for (const char* name : {"output_router_logits", "router_aux_loss_coef", "router_jitter_noise"}) {
    fields.push_back({name, ConfigField::ignored});
  }
  return fields;
}

}  // namespace mxq
