// SmolLM3: Llama without rotary embedding in every fourth layer.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_checks.h"
#include "model/config_fields.h"

namespace mxq {

namespace {

constexpr const char *kLayers = "no_rope_layers", *kInterval = "no_rope_layer_interval";
constexpr int64_t kUsualInterval = 4;

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  const nlohmann::json* layers = fields.find(kLayers);
  if (layers == nullptr) {
    const int64_t interval = fields.find_int(kInterval, 1, kMaxExtent).value_or(kUsualInterval);
    for (int64_t i = 0; i < config.num_hidden_layers; ++i) config.rope_layers.push_back((i + 1) % interval != 0);
    return;
  }
  // Despite its name 1 says that a layer rotates.
  const auto count = static_cast<size_t>(config.num_hidden_layers);
  bool good = layers->is_array() && layers->size() == count;
  for (size_t i = 0; good && i < count; ++i) {
    good = (*layers)[i] == 0 || (*layers)[i] == 1;
    config.rope_layers.push_back((*layers)[i] == 1);
  }
  if (good) return;
  refuse_config(fields.source(), fmt::format("'{}' is {}", kLayers, shown(*layers)),
                fmt::format("0 or 1 for each of num_hidden_layers {}", count));
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  auto& layers = json[kLayers] = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) layers.push_back(config.rotates(i) ? 1 : 0);
}

// No key says which layers rotate: llama.cpp leaves out every fourth.
void read_keys(const GgufFields& /*fields*/, ModelConfig& config) {
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) config.rope_layers.push_back((i + 1) % kUsualInterval != 0);
}

}  // namespace

const Architecture& smollm3_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "smollm3",
      .gguf_name = "smollm3",
      .class_name = "SmolLM3",
      .gguf_permutes_rows = true,
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .mlp_bias = Bias::by_config,
      .window = WindowRule::without_rope,
      .default_max_positions = 32768,
      .default_kv_heads = 4,
      .default_rope_theta = 2e6,
      .default_tie = true,
      .read_config = read_fields,
      .write_config = write_fields,
      .own_fields = {{kLayers, read},
                     {kInterval, read},
                     {"attention_bias", read},
                     {"mlp_bias", read},
                     {"sliding_window", read},
                     {"use_sliding_window", read},
                     {"layer_types", read},
                     {"max_window_layers", ignored},
                     {"pretraining_tp", ignored}},
      .read_gguf = read_keys,
  };
  return architecture;
}

}  // namespace mxq
