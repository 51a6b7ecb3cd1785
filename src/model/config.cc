#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "format/python_json.h"
#include "model/arch/architecture.h"
#include "model/config_checks.h"
#include "model/config_fields.h"
#include "model/rope_config.h"
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

// As transformers 4.57's configuration classes make it out.
void read_window(const ConfigFields& fields, const Architecture& architecture, ModelConfig& config) {
  if (architecture.window == WindowRule::none) return;
  const auto window = [&] {
    const auto given = fields.find_int("sliding_window", 1, kMaxContext);
    return given || fields.contains("sliding_window") ? given : architecture.default_window;
  };
  if (architecture.window == WindowRule::all_layers) {
    config.sliding_window = window();
    return;
  }
  const bool on = fields.get_bool("use_sliding_window", false);
  if (on) config.sliding_window = window();
  const auto layers = static_cast<size_t>(config.num_hidden_layers);
  const int64_t first = fields.find_int("max_window_layers", 0, kMaxExtent).value_or(28);
  const Json* types = fields.find("layer_types");
  if (types == nullptr) {
    if (!config.sliding_window) return;
    for (size_t i = 0; i < layers; ++i) config.window_layers.push_back(static_cast<int64_t>(i) >= first);
    return;
  }
  if (!types->is_array() || types->size() != layers) {
    refuse_config(fields.source(), fmt::format("'layer_types' is {}", shown(*types)),
                  fmt::format("a list with one for each of num_hidden_layers {}", layers));
  }
  bool any = false;
  for (const Json& type : *types) {
    const bool sliding = type == "sliding_attention";
    if (!sliding && type != "full_attention") {
      config.unsupported.push_back(
          {fmt::format("'layer_types' has {}", shown(type)), "full_attention or sliding_attention"});
      return;
    }
    any |= sliding;
    config.window_layers.push_back(sliding);
  }
  if (any && !config.sliding_window) {
    config.unsupported.push_back({fmt::format("'layer_types' has sliding_attention, and {}",
                                              on ? "'sliding_window' is null" : "'use_sliding_window' is not true"),
                                  "a window for such layers"});
  }
  if (!config.sliding_window) config.window_layers.clear();
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

bool has_bias(Bias bias, const ConfigFields& fields, const char* field) {
  return bias == Bias::always || (bias == Bias::by_config && fields.get_bool(field, false));
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
  // Of those that are not run the names are those that transformers' attribute_map lists, and 0 stands for none.
  const auto extent = [&](std::initializer_list<const char*> names, int64_t high) {
    if (arch != nullptr) return fields.get_int(*names.begin(), 1, high);
    for (const char* name : names) {
      const Json* value = fields.find(name);
      if (value != nullptr && value->is_number_integer()) return *fields.find_int(name, 1, high);
    }
    return int64_t{0};
  };
  config.hidden_size = extent({"hidden_size", "n_embd", "d_model"}, kMaxExtent);
  config.intermediate_size = extent({"intermediate_size", "n_inner", "ffn_dim"}, kMaxExtent);
  config.num_hidden_layers = extent({"num_hidden_layers", "n_layer", "n_layers"}, kMaxLayers);
  config.num_attention_heads = extent({"num_attention_heads", "n_head", "n_heads"}, kMaxExtent);
  const Architecture& known = arch != nullptr ? *arch : other;
  const auto kv_heads = fields.find_int("num_key_value_heads", 1, kMaxExtent);
  config.num_key_value_heads = kv_heads ? *kv_heads
                               : fields.contains("num_key_value_heads")
                                   ? config.num_attention_heads
                                   : known.default_kv_heads.value_or(config.num_attention_heads);
  config.vocab_size = extent({"vocab_size"}, kMaxExtent);
  if (arch != nullptr) {
    config.max_position_embeddings =
        fields.find_int("max_position_embeddings", 1, kMaxContext).value_or(arch->default_max_positions);
  } else {
    const int64_t positions = extent({"max_position_embeddings", "n_positions", "max_seq_len"}, kMaxContext);
    config.max_position_embeddings = positions > 0 ? positions : 2048;
  }
  config.rms_norm_eps = fields.find_positive("rms_norm_eps").value_or(1e-6);
  const auto head_dim = fields.find_int("head_dim", 1, kMaxExtent);
  config.head_dim = head_dim                 ? *head_dim
                    : known.default_head_dim ? *known.default_head_dim
                                             : default_head_dim(config, source);
  if (arch != nullptr) check_fields(fields, *arch, config);
  read_rope(fields, config);

  const bool gemma = config.architecture.starts_with("gemma");
  config.tie_word_embeddings =
      fields.get_bool("tie_word_embeddings", part ? whole.get_bool("tie_word_embeddings", gemma) : gemma);
  config.attention_bias = has_bias(known.attention_bias, fields, "attention_bias");
  config.output_bias = has_bias(known.output_bias, fields, "attention_bias");
  config.mlp_bias = has_bias(known.mlp_bias, fields, "mlp_bias");
  const auto bos = read_token_ids(fields, "bos_token_id"), pad = read_token_ids(fields, "pad_token_id");
  if (!bos.empty()) config.bos_token_id = bos.front();
  if (!pad.empty()) config.pad_token_id = pad.front();
  config.eos_token_ids = read_token_ids(fields, "eos_token_id");
  read_window(fields, known, config);
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
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_key_value_heads"] = config.num_key_value_heads;
  json["head_dim"] = config.head_dim;
  json["hidden_act"] = "silu";
  json["vocab_size"] = config.vocab_size;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  write_rope(config, json);
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  if (architecture->attention_bias != Bias::always) json["attention_bias"] = config.attention_bias;
  if (architecture->mlp_bias == Bias::by_config) json["mlp_bias"] = config.mlp_bias;
  if (architecture->window == WindowRule::all_layers || config.sliding_window) {
    json["sliding_window"] = config.sliding_window ? nlohmann::ordered_json(*config.sliding_window) : nullptr;
  }
  if (architecture->window == WindowRule::layer_types) {
    json["use_sliding_window"] = config.sliding_window.has_value();
    if (config.sliding_window) json["max_window_layers"] = 0;
    if (config.sliding_window && !config.window_layers.empty()) {
      auto& types = json["layer_types"] = nlohmann::ordered_json::array();
      for (const bool window : config.window_layers) types.push_back(window ? "sliding_attention" : "full_attention");
    }
  }
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
    case Extent::hidden:
      return hidden_size;
    case Extent::intermediate:
      return intermediate_size;
    case Extent::queries:
      return num_attention_heads * head_dim;
    case Extent::keys:
      return num_key_value_heads * head_dim;
    case Extent::head_dim:
      return head_dim;
    case Extent::none:
      break;
  }
  return 0;
}

bool ModelConfig::has_bias(LayerInput input) const {
  return input == LayerInput::attention ? attention_bias : input == LayerInput::heads ? output_bias : mlp_bias;
}

int64_t kv_cache_bytes(const ModelConfig& config, int64_t context) {
  if (context < 1 || context > kMaxContext) {
    throw Error(ErrorCode::usage, "size of the KV cache", fmt::format("a context of {} tokens", context),
                fmt::format("1 to {}", kMaxContext));
  }
  int64_t bytes = 2 * 2 * config.num_hidden_layers;
  for (int64_t factor : {config.num_key_value_heads, config.head_dim, context}) {
    if (__builtin_mul_overflow(bytes, factor, &bytes)) {
      throw Error(ErrorCode::usage, "size of the KV cache",
                  fmt::format("a context of {} tokens: too many bytes", context));
    }
  }
  return bytes;
}

}  // namespace mxq
