#include "model/arch/linear_attention_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "model/config_checks.h"

namespace mxq {

namespace {

constexpr const char *kKernel = "linear_conv_kernel_dim", *kKeyDim = "linear_key_head_dim",
                     *kValueDim = "linear_value_head_dim", *kKeyHeads = "linear_num_key_heads",
                     *kValueHeads = "linear_num_value_heads", *kTypes = "layer_types",
                     *kInterval = "full_attention_interval";
constexpr const char *kLinear = "linear_attention", *kFull = "full_attention";
// In GGUF, whose names are those of state-space models.
constexpr const char *kGgufKernel = "ssm.conv_kernel", *kGgufKeyDim = "ssm.state_size",
                     *kGgufKeyHeads = "ssm.group_count", *kGgufValueHeads = "ssm.time_step_rank",
                     *kGgufValues = "ssm.inner_size", *kGgufLayers = "attention.recurrent_layers";
constexpr int64_t kUsualInterval = 4;
constexpr int64_t kMost = 16'384;  // of each extent: what all layers keep stays inside 63 bits

std::vector<bool> all_but_every(const ModelConfig& config, std::optional<int64_t> interval) {
  std::vector<bool> layers;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i)
    layers.push_back((i + 1) % interval.value_or(kUsualInterval) != 0);
  return layers;
}

std::vector<bool> read_layers(const ConfigFields& fields, ModelConfig& config) {
  std::vector<bool> layers;
  const nlohmann::json* const types = fields.find(kTypes);
  if (types == nullptr) return all_but_every(config, fields.find_int(kInterval, 1, kMaxExtent));
  if (!types->is_array() || std::ssize(*types) != config.num_hidden_layers) {
    refuse_config(fields.source(), fmt::format("'{}' is {}", kTypes, shown(*types)),
                  fmt::format("a list with one for each of num_hidden_layers {}", config.num_hidden_layers));
  }
  for (const nlohmann::json& type : *types) {
    if (type != kLinear && type != kFull) {
      config.unsupported.push_back(
          {fmt::format("'{}' has {}", kTypes, shown(type)), fmt::format("{} or {}", kFull, kLinear)});
    }
    layers.push_back(type == kLinear);
  }
  return layers;
}

}  // namespace

void read_linear_attention(const ConfigFields& fields, ModelConfig& config) {
  LinearAttention& linear = config.linear;
  linear.kernel = fields.find_int(kKernel, 1, kMost).value_or(4);
  linear.key_dim = fields.find_int(kKeyDim, 1, kMost).value_or(128);
  linear.value_dim = fields.find_int(kValueDim, 1, kMost).value_or(128);
  linear.key_heads = fields.find_int(kKeyHeads, 1, kMost).value_or(16);
  linear.value_heads = fields.find_int(kValueHeads, 1, kMost).value_or(32);
  if (linear.value_heads % linear.key_heads != 0) {
    refuse_config(fields.source(), fmt::format("'{}' is {}", kValueHeads, linear.value_heads),
                  fmt::format("a multiple of '{}' {}", kKeyHeads, linear.key_heads));
  }
  linear.layers = read_layers(fields, config);
}

void write_linear_attention(const ModelConfig& config, nlohmann::ordered_json& json) {
  const LinearAttention& linear = config.linear;
  json[kKernel] = linear.kernel;
  json[kKeyDim] = linear.key_dim;
  json[kValueDim] = linear.value_dim;
  json[kKeyHeads] = linear.key_heads;
  json[kValueHeads] = linear.value_heads;
  auto& types = json[kTypes] = nlohmann::ordered_json::array();
  for (const bool layer : linear.layers) types.push_back(layer ? kLinear : kFull);
}

std::vector<ConfigField> linear_attention_fields() {
  using enum ConfigField::Use;
  std::vector<ConfigField> fields{{"attention_bias", read},
                                  {"partial_rotary_factor", read},
                                  {"attn_output_gate", only, {"true", "null"}},
                                  // Of what is run, transformers reads none of these.
                                  {"mlp_bias", ignored},
                                  {"sliding_window", ignored},
                                  {"use_sliding_window", ignored},
                                  {"max_window_layers", ignored}};
  for (const char* name : {kKernel, kKeyDim, kValueDim, kKeyHeads, kValueHeads, kTypes, kInterval}) {
    fields.push_back({name, read});
  }
  return fields;
}

void read_gguf_linear_attention(const GgufFields& fields, ModelConfig& config) {
  LinearAttention& linear = config.linear;
  linear.kernel = fields.get_int(kGgufKernel, 1, kMost);
  linear.key_dim = fields.get_int(kGgufKeyDim, 1, kMost);
  linear.key_heads = fields.get_int(kGgufKeyHeads, 1, kMost);
  linear.value_heads = fields.get_int(kGgufValueHeads, 1, kMost);
  const int64_t values = fields.get_int(kGgufValues, 1, kMost * kMost);
  const auto require_multiple = [&](const char* key, int64_t value, const char* of, int64_t divisor) {
    if (value % divisor == 0) return;
    refuse_config(fields.file().source, fmt::format("'{}' is {}", fields.key(key), value),
                  fmt::format("a multiple of '{}' {}", fields.key(of), divisor));
  };
  require_multiple(kGgufValueHeads, linear.value_heads, kGgufKeyHeads, linear.key_heads);
  require_multiple(kGgufValues, values, kGgufValueHeads, linear.value_heads);
  linear.value_dim = values / linear.value_heads;
  if (linear.value_dim > kMost) {
    refuse_config(fields.file().source, fmt::format("'{}' is {}", fields.key(kGgufValues), values),
                  fmt::format("at most {} for each of {} heads", kMost, linear.value_heads));
  }
  const auto layers = fields.find_flags(kGgufLayers);
  const int64_t all = config.num_hidden_layers + config.mtp_layers;
  if (layers && std::ssize(*layers) != all) {
    refuse_config(fields.file().source, fmt::format("'{}' has {} entries", fields.key(kGgufLayers), layers->size()),
                  fmt::format("one for each of {} layers", all));
  }
  linear.layers = layers ? *layers : all_but_every(config, fields.find_int(kInterval, 1, kMaxExtent));
  linear.layers.resize(static_cast<size_t>(config.num_hidden_layers));
}

void write_gguf_linear_attention(const ModelConfig& config, GgufKeys& keys) {
  const LinearAttention& linear = config.linear;
  keys.u32(kGgufKernel, linear.kernel);
  keys.u32(kGgufKeyDim, linear.key_dim);
  keys.u32(kGgufKeyHeads, linear.key_heads);
  keys.u32(kGgufValueHeads, linear.value_heads);
  keys.u32(kGgufValues, linear.values());
  // The first layer without it says how often there is one.
  const auto first = std::find(linear.layers.begin(), linear.layers.end(), false);
  const int64_t interval = first - linear.layers.begin() + 1;
  if (linear.layers == all_but_every(config, interval)) return keys.u32(kInterval, interval);
  auto layers = linear.layers;
  layers.resize(static_cast<size_t>(config.num_hidden_layers + config.mtp_layers), false);
  keys.flags(kGgufLayers, layers);
}

std::vector<ConfigField> gguf_linear_attention_fields() {
  std::vector<ConfigField> fields;
  for (const char* name :
       {kGgufKernel, kGgufKeyDim, kGgufKeyHeads, kGgufValueHeads, kGgufValues, kGgufLayers, kInterval}) {
    fields.push_back({name, ConfigField::read});
  }
  return fields;
}

Architecture linear_attention_family() {
  Architecture family;
  family.norm = Norm::rms_plus_one;
  family.gated_queries = true;
  family.attention_bias = Bias::by_config;
  family.output_bias = Bias::by_config;
  family.default_max_positions = 32768;
  family.default_head_dim = 256;
  family.default_rotary_part = 0.25;
  return family;
}

std::vector<LayerTensor> gated_attention_tensors() {
  using enum Extent;
  const auto gated =
      replaced(llama_tensors(), LayerPart::q,
               {{LayerPart::q, "self_attn.q_proj", "attn_q", gated_queries, hidden, LayerInput::attention}});
  return replaced(
             gated, LayerPart::feed_forward_norm,
             {{LayerPart::feed_forward_norm, "post_attention_layernorm", "post_attention_norm", hidden, none, {}}}) +
         head_norms();
}

std::vector<LayerTensor> delta_rule_tensors(const std::vector<LayerTensor>& projections) {
  using enum Extent;
  return projections +
         std::vector<LayerTensor>{
             {LayerPart::linear_conv, "linear_attn.conv1d", "ssm_conv1d", linear_channels, linear_kernel, {}},
             {LayerPart::linear_a_log, "linear_attn.A_log", "ssm_a", linear_heads, none, {}, "", ""},
             {LayerPart::linear_dt_bias, "linear_attn.dt_bias", "ssm_dt", linear_heads, none, {}, "", ".bias"},
             {LayerPart::linear_norm, "linear_attn.norm", "ssm_norm", linear_head_dim, none, {}},
             {LayerPart::linear_o, "linear_attn.out_proj", "ssm_out", hidden, linear_values, LayerInput::heads}};
}

}  // namespace mxq
