#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "format/python_json.h"
#include "model/arch/architecture.h"
#include "model/config_checks.h"
#include "model/config_fields.h"
#include "model/rope_config.h"
#include "model/window_config.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

using Json = nlohmann::json;

std::vector<int64_t> read_token_ids(const ConfigFields& fields, const std::string& name) {
  const Json* value = fields.find(name);
  if (!value) return {};
  std::vector<int64_t> ids;
  for (const Json& id : value->is_array() ? *value : Json::array({*value})) {
    // -1 is how some models say "none".
    if (!id.is_number_integer() || id.get<int64_t>() < -1 || id.get<int64_t>() > kMaxExtent) {
      refuse_config(fields.source(), fmt::format("'{}' is {}", name, shown(*value)), "a token id, or several");
    }
    if (id.get<int64_t>() >= 0) ids.push_back(id.get<int64_t>());
  }
  return ids;
}

// What the table says of every field that is there.
void check_fields(const ConfigFields& fields, const Architecture& architecture, ModelConfig& config) {
  for (const auto& [name, value] : fields.object().items()) {
    const ConfigField* field = architecture.find_field(name);
    if (field == nullptr) {
      config.unknown_fields.push_back(name);
    } else if (field->use == ConfigField::only &&
               std::find(field->allowed.begin(), field->allowed.end(), shown(value)) == field->allowed.end()) {
      config.unsupported.push_back(
          {fmt::format("'{}' is {}", name, shown(value)), fmt::format("{}", fmt::join(field->allowed, " or "))});
    }
  }
}

bool has_bias(Bias bias, const ConfigFields& fields, const char* field, bool usual) {
  return bias == Bias::always || (bias == Bias::by_config && fields.get_bool(field, usual));
}

constexpr std::pair<const char*, Activation> kActivations[] = {{"silu", Activation::silu},
                                                               {"swish", Activation::silu},
                                                               {"gelu_pytorch_tanh", Activation::gelu},
                                                               {"gelu_new", Activation::gelu},
                                                               {"gelu_fast", Activation::gelu}};

void read_activation(const ConfigFields& fields, const Architecture& architecture, ModelConfig& config) {
  if (architecture.clamped_activation) {
    config.activation = Activation::clamped;
    return;
  }
  const std::string name(architecture.activation_field);
  const Json* value = fields.find(name);
  const std::string given =
      fields.contains(name) ? shown(value != nullptr ? *value : Json()) : shown(architecture.default_activation);
  std::vector<std::string> known;
  for (const auto& [activation, meaning] : kActivations) {
    if (given == shown(activation)) {
      config.activation = meaning;
      return;
    }
    known.push_back(shown(activation));
  }
  config.unsupported.push_back({fmt::format("'{}' is {}", name, given), fmt::format("{}", fmt::join(known, " or "))});
}

void read_quantization(const ConfigFields& fields, ModelConfig& config) {
  for (const char* name : {"quantization_config", "quantization"}) {
    if (const auto quantization = fields.find_object(name); quantization && !quantization->object().empty()) {
      config.quantization = quantization->find_string("quant_method").value_or("?");
      return;
    }
  }
}

Json parse_object(std::string_view json, const std::string& source) {
  const Json object = parse_python_json(json, "read " + source);
  if (!object.is_object()) refuse_config(source, "the JSON is " + shown(object), "an object");
  return object;
}

}  // namespace

ModelConfig parse_hf_config(std::string_view json, const std::string& source) {
  const Json root = parse_object(json, source);
  const ConfigFields whole(root, source);
  const auto part = whole.find_object("text_config");
  const ConfigFields fields = part && !whole.find("hidden_size") ? *part : whole;

  ModelConfig config;
  auto architecture = fields.find_string("model_type");
  if (!architecture) architecture = whole.find_string("model_type");
  if (!architecture) refuse_config(source, "'model_type' is missing");
  config.architecture = *architecture;
  const Architecture* arch = find_architecture(config.architecture);
  const Architecture other;  // of those that are not run, so that shapes and sizes are known
  const Architecture& known = arch != nullptr ? *arch : other;
  const auto reads = [&](const char* field) { return known.find_field(field)->use == ConfigField::read; };
  // Of those that are not run the names are those that transformers' attribute_map lists, and 0 stands for none.
  const auto extent = [&](std::initializer_list<const char*> names, int64_t high, int64_t usual = 0) {
    if (arch != nullptr && usual > 0) return fields.find_int(*names.begin(), 1, high).value_or(usual);
    if (arch != nullptr) return fields.get_int(*names.begin(), 1, high);
    for (const char* name : names) {
      const Json* value = fields.find(name);
      if (value != nullptr && value->is_number_integer()) return *fields.find_int(name, 1, high);
    }
    return int64_t{0};
  };
  config.hidden_size = extent({"hidden_size", "n_embd", "d_model"}, kMaxExtent);
  if (known.dense_networks) {
    config.intermediate_size = extent({"intermediate_size", "n_inner", "ffn_dim"}, kMaxExtent);
  }
  config.num_hidden_layers = extent({"num_hidden_layers", "n_layer", "n_layers"}, kMaxLayers);
  config.num_attention_heads = extent({"num_attention_heads", "n_head", "n_heads"}, kMaxExtent, known.default_heads);
  const auto kv_heads = fields.find_int("num_key_value_heads", 1, kMaxExtent);
  config.num_key_value_heads = kv_heads ? *kv_heads
                               : fields.contains("num_key_value_heads")
                                   ? config.num_attention_heads
                                   : known.default_kv_heads.value_or(config.num_attention_heads);
  config.vocab_size = extent({"vocab_size"}, kMaxExtent, known.default_vocab);
  if (arch != nullptr) {
    config.max_position_embeddings =
        fields.find_int("max_position_embeddings", 1, kMaxContext).value_or(arch->default_max_positions);
  } else {
    const int64_t positions = extent({"max_position_embeddings", "n_positions", "max_seq_len"}, kMaxContext);
    config.max_position_embeddings = positions > 0 ? positions : 2048;
  }
  config.norm_eps = fields.find_positive(std::string(known.eps_field)).value_or(known.default_eps);
  const auto head_dim = reads("head_dim") ? fields.find_int("head_dim", 1, kMaxExtent) : std::nullopt;
  config.head_dim = head_dim                 ? *head_dim
                    : known.default_head_dim ? *known.default_head_dim
                                             : default_head_dim(config, source);
  if (reads("partial_rotary_factor")) {
    config.rotary_part = fields.find_positive("partial_rotary_factor").value_or(known.default_rotary_part);
  }
  if (arch != nullptr) {
    check_fields(fields, *arch, config);
    read_activation(fields, *arch, config);
  }
  read_rope(fields, known, config);

  const bool tied = known.default_tie || config.architecture.starts_with("gemma");
  config.tie_word_embeddings =
      fields.get_bool("tie_word_embeddings", part ? whole.get_bool("tie_word_embeddings", tied) : tied);
  config.attention_bias = has_bias(known.attention_bias, fields, "attention_bias", known.default_attention_bias);
  config.output_bias = has_bias(known.output_bias, fields, "attention_bias", known.default_attention_bias);
  config.mlp_bias = has_bias(known.mlp_bias, fields, "mlp_bias", false);
  const auto bos = read_token_ids(fields, "bos_token_id"), pad = read_token_ids(fields, "pad_token_id");
  if (!bos.empty()) config.bos_token_id = bos.front();
  if (!pad.empty()) config.pad_token_id = pad.front();
  config.eos_token_ids = read_token_ids(fields, "eos_token_id");
  if (known.read_config != nullptr) known.read_config(fields, config);
  read_window(fields, known, config);
  rotate_in_windows(known, config);
  read_quantization(whole, config);
  if (part && config.quantization.empty()) read_quantization(*part, config);
  check_config(config, source);
  return config;
}

std::string hf_config_json(const ModelConfig& config, DType dtype) {
  const Architecture* architecture = find_architecture(config.architecture);
  if (architecture == nullptr || architecture->name != config.architecture) {
    throw Error(ErrorCode::unsupported, "write config.json", fmt::format("architecture '{}'", config.architecture),
                architecture_names());
  }
  nlohmann::ordered_json json;
  json["architectures"] = {std::string(architecture->class_name) + "ForCausalLM"};
  json["model_type"] = config.architecture;
  json["torch_dtype"] = dtype == DType::f32 ? "float32" : dtype == DType::bf16 ? "bfloat16" : "float16";
  json["hidden_size"] = config.hidden_size;
  if (architecture->dense_networks) json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_key_value_heads"] = config.num_key_value_heads;
  json["head_dim"] = config.head_dim;
  json[std::string(architecture->activation_field)] =
      config.activation == Activation::gelu ? "gelu_pytorch_tanh" : "silu";
  json["vocab_size"] = config.vocab_size;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json[std::string(architecture->eps_field)] = config.norm_eps;
  write_rope(config, *architecture, json);
  if (config.rotary_part != architecture->default_rotary_part) json["partial_rotary_factor"] = config.rotary_part;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  if (architecture->attention_bias != Bias::always) json["attention_bias"] = config.attention_bias;
  if (architecture->mlp_bias == Bias::by_config) json["mlp_bias"] = config.mlp_bias;
  write_window(config, *architecture, json);
  if (architecture->write_config != nullptr) architecture->write_config(config, json);
  json["attention_dropout"] = 0.0;
  json["initializer_range"] = 0.02;
  json["use_cache"] = true;
  json["bos_token_id"] = config.bos_token_id ? nlohmann::ordered_json(*config.bos_token_id) : nullptr;
  json["eos_token_id"] = nullptr;
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids.front();
  if (config.eos_token_ids.size() > 1) json["eos_token_id"] = config.eos_token_ids;
  if (config.pad_token_id) json["pad_token_id"] = *config.pad_token_id;
  return json.dump(2) + "\n";
}

int64_t ModelConfig::window_of(int64_t layer) const {
  const bool windowed = window_layers.empty() || window_layers.at(static_cast<size_t>(layer));
  return windowed ? sliding_window.value_or(0) : 0;
}

int64_t ModelConfig::extent(Extent of) const {
  switch (of) {
    case Extent::one:
      return 1;
    case Extent::heads:
      return num_attention_heads;
    case Extent::hidden:
      return hidden_size;
    case Extent::intermediate:
      return intermediate_size;
    case Extent::queries:
      return num_attention_heads * head_dim;
    case Extent::keys:
      return num_key_value_heads * head_dim;
    case Extent::qkv:
      return (num_attention_heads + 2 * num_key_value_heads) * head_dim;
    case Extent::gate_up:
      return 2 * intermediate_size;
    case Extent::head_dim:
      return head_dim;
    case Extent::experts:
      return mixture.experts;
    case Extent::expert_intermediate:
      return mixture.intermediate_size;
    case Extent::shared_intermediate:
      return mixture.shared_intermediate_size;
    case Extent::gated_queries:
      return 2 * num_attention_heads * head_dim;
    case Extent::linear_qkvz:
      return linear.channels() + linear.values();
    case Extent::linear_channels:
      return linear.channels();
    case Extent::linear_values:
      return linear.values();
    case Extent::linear_rates:
      return 2 * linear.value_heads;
    case Extent::linear_heads:
      return linear.value_heads;
    case Extent::linear_head_dim:
      return linear.value_dim;
    case Extent::linear_kernel:
      return linear.kernel;
    case Extent::none:
      break;
  }
  return 0;
}

bool ModelConfig::has_bias(LayerPart matrix) const {
  switch (matrix) {
    case LayerPart::q:
    case LayerPart::k:
    case LayerPart::v:
    case LayerPart::qkv:
      return attention_bias;
    case LayerPart::o:
      return output_bias;
    case LayerPart::gate:
    case LayerPart::up:
    case LayerPart::gate_up:
    case LayerPart::down:
      return mlp_bias;
    case LayerPart::router:
    case LayerPart::expert_gate:
    case LayerPart::expert_up:
    case LayerPart::expert_down:
      return mixture.biases;
    default:
      return false;
  }
}

int64_t kv_cache_bytes(const ModelConfig& config, int64_t context) {
  if (context < 1 || context > kMaxContext) {
    throw Error(ErrorCode::usage, "size of the KV cache", fmt::format("a context of {} tokens", context),
                fmt::format("1 to {}", kMaxContext));
  }
  int64_t bytes = 2 * 2 * config.attention_layers();
  for (int64_t factor : {config.num_key_value_heads, config.head_dim, context}) {
    if (__builtin_mul_overflow(bytes, factor, &bytes)) {
      throw Error(ErrorCode::usage, "size of the KV cache",
                  fmt::format("a context of {} tokens: too many bytes", context));
    }
  }
  return bytes;
}

int64_t linear_state_bytes(const ModelConfig& config) {
  return config.linear_layers() * config.linear.state() * static_cast<int64_t>(sizeof(float));
}

}  // namespace mxq
