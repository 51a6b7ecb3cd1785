#include "model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "format/python_json.h"
#include "model/arch/architecture.h"
#include "model/gguf_names.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxExtent = int64_t{1} << 31;  // of any dimension: products of two of them stay far inside 63 bits
constexpr int64_t kMaxContext = int64_t{1} << 40;
constexpr int64_t kMaxLayers = 100'000;

[[noreturn]] void invalid(const std::string& source, std::string given, std::string supported = {}) {
  throw Error(ErrorCode::invalid_file, "read " + source, std::move(given), std::move(supported));
}

// A value as one short line.
std::string shown(const Json& value) {
  std::string text = print_python_json(value, -1, true);
  if (text.size() > 60) text = text.substr(0, 60) + "...";
  return text;
}

// Fields of one JSON object, checked.
class Fields {
 public:
  Fields(const Json& object, std::string source) : object_(&object), source_(std::move(source)) {}

  const Json* find(const std::string& name) const {
    const auto found = object_->find(name);
    return found == object_->end() || found->is_null() ? nullptr : &*found;
  }

  // Also of null.
  bool contains(const std::string& name) const { return object_->contains(name); }

  std::optional<int64_t> find_int(const std::string& name, int64_t low, int64_t high) const {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    const bool inside = value->is_number_unsigned() ? value->get<uint64_t>() <= static_cast<uint64_t>(high)
                                                    : value->is_number_integer() && value->get<int64_t>() <= high;
    if (!inside || value->get<int64_t>() < low) {
      invalid(source_, fmt::format("'{}' is {}", name, shown(*value)),
              fmt::format("an integer from {} to {}", low, high));
    }
    return value->get<int64_t>();
  }
  int64_t get_int(const std::string& name, int64_t low, int64_t high) const {
    const auto value = find_int(name, low, high);
    if (!value) invalid(source_, fmt::format("'{}' is missing", name));
    return *value;
  }
  // Finite and above 0.
  std::optional<double> find_positive(const std::string& name) const {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    if (!value->is_number() || !std::isfinite(value->get<double>()) || value->get<double>() <= 0) {
      invalid(source_, fmt::format("'{}' is {}", name, shown(*value)), "a number above 0");
    }
    return value->get<double>();
  }
  bool get_bool(const std::string& name, bool otherwise) const {
    const Json* value = find(name);
    if (!value) return otherwise;
    if (!value->is_boolean()) invalid(source_, fmt::format("'{}' is {}", name, shown(*value)), "true or false");
    return value->get<bool>();
  }
  std::optional<std::string> find_string(const std::string& name) const {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    if (!value->is_string()) invalid(source_, fmt::format("'{}' is {}", name, shown(*value)), "a string");
    return value->get<std::string>();
  }
  std::optional<Fields> find_object(const std::string& name) const {
    const Json* value = find(name);
    if (!value) return std::nullopt;
    if (!value->is_object()) invalid(source_, fmt::format("'{}' is {}", name, shown(*value)), "an object");
    return Fields(*value, source_);
  }
  const std::string& source() const { return source_; }
  const Json& object() const { return *object_; }

 private:
  const Json* object_;
  std::string source_;
};

// What every configuration must satisfy, wherever it came from.
void check(const ModelConfig& config, const std::string& source) {
  if (config.num_key_value_heads > 0 && config.num_attention_heads % config.num_key_value_heads != 0) {
    invalid(source, fmt::format("num_attention_heads {} is no multiple of num_key_value_heads {}",
                                config.num_attention_heads, config.num_key_value_heads));
  }
}

int64_t default_head_dim(const ModelConfig& config, const std::string& source) {
  if (config.num_attention_heads == 0) return 0;
  if (config.hidden_size % config.num_attention_heads != 0) {
    invalid(source, fmt::format("head_dim is missing and hidden_size {} is no multiple of num_attention_heads {}",
                                config.hidden_size, config.num_attention_heads));
  }
  return config.hidden_size / config.num_attention_heads;
}

// "rope_scaling" of transformers 4, or "rope_parameters" of transformers 5.
void read_rope(const Fields& fields, ModelConfig& config) {
  const auto outer_theta = fields.find_positive("rope_theta");
  config.rope_theta = outer_theta.value_or(10000.0);
  const Json *scalings = fields.find("rope_scaling"), *parameters = fields.find("rope_parameters");
  const std::string name = scalings != nullptr ? "rope_scaling" : "rope_parameters";
  const auto scaling = fields.find_object(name);
  if (!scaling) return;
  const auto refuse = [&](std::string given, std::string supported) {
    config.unsupported.push_back({std::move(given), std::move(supported)});
  };
  if (scalings != nullptr && parameters != nullptr && *scalings != *parameters) {
    refuse("'rope_scaling' and 'rope_parameters' that differ", "one of the two");
  }
  const auto inner_theta = scaling->find_positive("rope_theta");
  if (outer_theta && inner_theta && *outer_theta != *inner_theta) {
    refuse(fmt::format("'rope_theta' is {}, and {} in '{}'", *outer_theta, *inner_theta, name), "the same in both");
  }
  config.rope_theta = inner_theta.value_or(config.rope_theta);
  auto type = scaling->find_string("rope_type");
  if (!type) type = scaling->find_string("type");
  for (const auto& [key, value] : scaling->object().items()) {
    static constexpr std::array<std::string_view, 8> known{"rope_type",       "type",
                                                           "rope_theta",      "factor",
                                                           "low_freq_factor", "high_freq_factor",
                                                           "mrope_section",   "original_max_position_embeddings"};
    if (value.is_object()) {
      refuse(fmt::format("'{}' has parameters by the kind of layer ('{}')", name, key), "one set for all layers");
    } else if (key == "partial_rotary_factor") {
      if (value != 1) refuse(fmt::format("'{}.{}' is {}", name, key, shown(value)), "1");
    } else if (std::find(known.begin(), known.end(), key) == known.end()) {
      config.unknown_fields.push_back(name + "." + key);
    }
  }
  if (!type) {
    if (scaling->object().contains("factor")) {
      refuse(fmt::format("'{}' has a factor and no rope_type", name), "a rope_type");
    }
    return;
  }
  // Three positions a token, of time, height and width: those of text are equal.
  if (*type == "default" || (*type == "mrope" && config.architecture.starts_with("qwen2_"))) return;
  RopeScaling rope;
  rope.type = *type;
  rope.factor = scaling->find_positive("factor").value_or(1.0);
  rope.low_freq_factor = scaling->find_positive("low_freq_factor").value_or(1.0);
  rope.high_freq_factor = scaling->find_positive("high_freq_factor").value_or(4.0);
  rope.original_max_position_embeddings = scaling->find_int("original_max_position_embeddings", 1, kMaxContext);
  static const std::map<std::string, std::vector<std::string>> needed{
      {"linear", {"factor"}},
      {"llama3", {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}}};
  const auto needs = needed.find(*type);
  if (needs == needed.end()) {
    refuse(fmt::format("'{}' of type {}", name, shown(*type)), "none, default, linear or llama3");
  } else {
    for (const auto& number : needs->second) {
      if (scaling->find(number) != nullptr) continue;
      refuse(fmt::format("'{}' of type {} lacks '{}'", name, shown(*type), number), fmt::format("{}", fmt::join(needs->second, ", ")));
    }
  }
  config.rope_scaling = rope;
}

std::vector<int64_t> read_token_ids(const Fields& fields, const std::string& name) {
  const Json* value = fields.find(name);
  if (!value) return {};
  std::vector<int64_t> ids;
  for (const Json& id : value->is_array() ? *value : Json::array({*value})) {
    // -1 is how some models say "none".
    if (!id.is_number_integer() || id.get<int64_t>() < -1 || id.get<int64_t>() > kMaxExtent) {
      invalid(fields.source(), fmt::format("'{}' is {}", name, shown(*value)), "a token id, or several");
    }
    if (id.get<int64_t>() >= 0) ids.push_back(id.get<int64_t>());
  }
  return ids;
}

// As transformers 4.57's configuration classes make it out.
void read_window(const Fields& fields, const Architecture& architecture, ModelConfig& config) {
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
    invalid(fields.source(), fmt::format("'layer_types' is {}", shown(*types)),
            fmt::format("a list with one for each of num_hidden_layers {}", layers));
  }
  bool any = false;
  for (const Json& type : *types) {
    const bool sliding = type == "sliding_attention";
    if (!sliding && type != "full_attention") {
      config.unsupported.push_back({fmt::format("'layer_types' has {}", shown(type)),
                                    "full_attention or sliding_attention"});
      return;
    }
    any |= sliding;
    config.window_layers.push_back(sliding);
  }
  if (any && !config.sliding_window) {
    config.unsupported.push_back(
        {fmt::format("'layer_types' has sliding_attention, and {}",
                     on ? "'sliding_window' is null" : "'use_sliding_window' is not true"),
         "a window for such layers"});
  }
  if (!config.sliding_window) config.window_layers.clear();
}

// What the table says of every field that is there.
void check_fields(const Fields& fields, const Architecture& architecture, ModelConfig& config) {
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

bool has_bias(Bias bias, const Fields& fields, const char* field) {
  return bias == Bias::always || (bias == Bias::by_config && fields.get_bool(field, false));
}

void read_quantization(const Fields& fields, ModelConfig& config) {
  for (const char* name : {"quantization_config", "quantization"}) {
    if (const auto quantization = fields.find_object(name); quantization && !quantization->object().empty()) {
      config.quantization = quantization->find_string("quant_method").value_or("?");
      return;
    }
  }
}

Json parse_object(std::string_view json, const std::string& source) {
  Json object;
  try {
    object = parse_python_json(json);
  } catch (const Json::exception& error) {
    std::string reason = error.what();
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    invalid(source, "no JSON: " + reason);
  }
  if (!object.is_object()) invalid(source, "the JSON is " + shown(object), "an object");
  return object;
}

}  // namespace

ModelConfig parse_hf_config(std::string_view json, const std::string& source) {
  const Json root = parse_object(json, source);
  const Fields whole(root, source);
  const auto part = whole.find_object("text_config");
  const Fields fields = part && !whole.find("hidden_size") ? *part : whole;

  ModelConfig config;
  auto architecture = fields.find_string("model_type");
  if (!architecture) architecture = whole.find_string("model_type");
  if (!architecture) invalid(source, "'model_type' is missing");
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
  config.num_key_value_heads =
      kv_heads ? *kv_heads
      : fields.contains("num_key_value_heads") ? config.num_attention_heads
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
  config.head_dim = head_dim               ? *head_dim
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
  check(config, source);
  return config;
}

namespace {

// Integers of GGUF metadata under the architecture's prefix, with the same bounds as above.
class GgufFields {
 public:
  GgufFields(const GgufFile& file, const std::string& architecture) : file_(file), prefix_(architecture + ".") {}

  std::optional<int64_t> find_int(std::string_view name, int64_t low, int64_t high) const {
    const std::string key = prefix_ + std::string(name);
    const GgufValue* value = file_.find(key);
    if (!value) return std::nullopt;
    int64_t number = 0;
    if (std::holds_alternative<GgufArray>(*value)) {
      // One number a layer: fine as long as all are the same.
      const auto numbers = file_.get_ints(key);
      if (numbers.empty() ||
          std::adjacent_find(numbers.begin(), numbers.end(), std::not_equal_to<>()) != numbers.end()) {
        throw Error(ErrorCode::unsupported, "read " + file_.source, fmt::format("'{}' differs between layers", key),
                    "one value for all layers");
      }
      number = numbers.front();
    } else {
      number = file_.get_u32(key);
    }
    if (number < low || number > high) {
      invalid(file_.source, fmt::format("'{}' is {}", key, number), fmt::format("an integer from {} to {}", low, high));
    }
    return number;
  }
  int64_t get_int(std::string_view name, int64_t low, int64_t high) const {
    const auto value = find_int(name, low, high);
    if (!value) invalid(file_.source, fmt::format("metadata '{}{}' is missing", prefix_, name));
    return *value;
  }
  std::optional<double> find_positive(std::string_view name) const {
    const std::string key = prefix_ + std::string(name);
    const auto value = file_.find_f32(key);
    if (!value) return std::nullopt;
    if (!std::isfinite(*value) || *value <= 0) {
      invalid(file_.source, fmt::format("'{}' is {}", key, *value), "a number above 0");
    }
    // The shortest decimal of the float: 1e-05 rather than 9.999999747378752e-06.
    return parse_double(fmt::format("{}", *value));
  }
  std::optional<std::string> find_string(std::string_view name) const {
    return file_.find_string(prefix_ + std::string(name));
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

bool has_tensor(const GgufFile& file, std::string_view name) {
  return std::any_of(file.tensors.begin(), file.tensors.end(), [&](const auto& t) { return t.name == name; });
}

const TensorView* find_tensor(const GgufFile& file, std::string_view name) {
  const auto found =
      std::find_if(file.tensors.begin(), file.tensors.end(), [&](const auto& t) { return t.name == name; });
  return found == file.tensors.end() ? nullptr : &*found;
}

// What llama3's rope scaling divides the frequency of pair i by (Llama 3.1's reference implementation).
double llama3_divisor(const RopeScaling& rope, double theta, int64_t i, int64_t head_dim) {
  constexpr double tau = 6.283185307179586;
  const double wavelength = tau * std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
  const auto context = static_cast<double>(*rope.original_max_position_embeddings);
  if (wavelength < context / rope.high_freq_factor) return 1;
  if (wavelength > context / rope.low_freq_factor) return rope.factor;
  const double smooth = (context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return 1 / ((1 - smooth) / rope.factor + smooth);
}

// GGUF holds llama3's scaling as the table of divisors only. The three parameters that its conversion has lost are the
// same for all published models; whether they hold here is checked against the table.
RopeScaling rope_from_table(const GgufFile& file, const TensorView& table, const ModelConfig& config) {
  const int64_t pairs = table.elements();
  RopeScaling rope;
  rope.type = "llama3";
  rope.original_max_position_embeddings = 8192;
  std::vector<float> divisors(table.dtype == DType::f32 ? static_cast<size_t>(pairs) : 0);
  if (!divisors.empty())
    std::copy_n(table.bytes.data(), table.bytes.size(), reinterpret_cast<std::byte*>(divisors.data()));
  bool same = pairs * 2 == config.head_dim && !divisors.empty();
  if (same) rope.factor = divisors.back();
  for (int64_t i = 0; same && i < pairs; ++i) {
    const double wanted = llama3_divisor(rope, config.rope_theta, i, config.head_dim);
    same = std::abs(divisors[static_cast<size_t>(i)] - wanted) <= 1e-4 * wanted;  // a NaN fails too
  }
  if (!same) {
    throw Error(ErrorCode::unsupported, "read " + file.source,
                "tensor 'rope_freqs.weight' is not the table of Llama 3's rope scaling",
                "factor f, low_freq_factor 1, high_freq_factor 4, original context 8192");
  }
  return rope;
}

void read_gguf_rope(const GgufFile& file, const GgufFields& fields, ModelConfig& config) {
  config.rope_theta = fields.find_positive("rope.freq_base").value_or(10000.0);
  const auto rotated = fields.find_int("rope.dimension_count", 1, kMaxExtent);
  const auto refuse = [&](std::string given, std::string supported) {
    throw Error(ErrorCode::unsupported, "read " + file.source, std::move(given), std::move(supported));
  };
  if (rotated && *rotated != config.head_dim) {
    refuse(fmt::format("rotary embedding of {} of a head's {} dimensions", *rotated, config.head_dim), "all of them");
  }
  if (const auto* table = find_tensor(file, "rope_freqs.weight")) {
    config.rope_scaling = rope_from_table(file, *table, config);
    return;
  }
  const auto type = fields.find_string("rope.scaling.type").value_or("none");
  if (has_tensor(file, "rope_factors_long.weight") || (type != "none" && type != "linear" && type != "yarn")) {
    refuse(fmt::format("rope scaling of type '{}'", type == "none" ? "longrope" : printable(type, 200)),
           "none, linear, yarn or Llama 3's");
  }
  if (type == "none") return;
  RopeScaling rope;
  rope.type = type;
  rope.factor = fields.find_positive("rope.scaling.factor").value_or(1.0);
  if (type == "yarn") {
    rope.original_max_position_embeddings = fields.find_int("rope.scaling.original_context_length", 1, kMaxContext);
  }
  config.rope_scaling = rope;
}

void read_gguf_tokens(const GgufFile& file, ModelConfig& config) {
  const auto token = [&](const char* key) -> std::optional<int64_t> {
    const auto id = file.find_u32(key);
    // 2^32 - 1 is how some converters say "none".
    return id && *id < static_cast<uint32_t>(config.vocab_size) ? std::optional<int64_t>(*id) : std::nullopt;
  };
  config.bos_token_id = token("tokenizer.ggml.bos_token_id");
  config.pad_token_id = token("tokenizer.ggml.padding_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const auto id = token(key);
    if (id && std::find(config.eos_token_ids.begin(), config.eos_token_ids.end(), *id) == config.eos_token_ids.end()) {
      config.eos_token_ids.push_back(*id);
    }
  }
}

// A value as JSON has it; lists are not shown.
std::string gguf_shown(const GgufValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return fmt::format("\"{}\"", printable(*text, 200));
  if (std::holds_alternative<GgufArray>(value)) return "a list";
  return std::visit(
      [](const auto& number) -> std::string {
        if constexpr (std::is_arithmetic_v<std::decay_t<decltype(number)>>) return fmt::format("{}", number);
        return "";
      },
      value);
}

// What the table says of every key under the architecture's prefix.
void check_gguf_fields(const GgufFile& file, const std::string& architecture, ModelConfig& config) {
  const std::string prefix = architecture + ".";
  for (const auto& [key, value] : file.metadata) {
    if (!key.starts_with(prefix)) continue;
    const ConfigField* field = find_gguf_field(std::string_view(key).substr(prefix.size()));
    if (field == nullptr) {
      config.unknown_fields.push_back(printable(key, 200));
    } else if (field->use == ConfigField::only) {
      const std::string given = gguf_shown(value);
      if (std::find(field->allowed.begin(), field->allowed.end(), given) != field->allowed.end()) continue;
      config.unsupported.push_back({fmt::format("{} is {}", in_quotes(key), given),
                                    field->allowed.empty() ? "no such key"
                                                           : fmt::format("{}", fmt::join(field->allowed, " or "))});
    }
  }
}

int64_t gguf_vocab_size(const GgufFile& file, const GgufFields& fields) {
  // The embedding is the truth: the key is missing in some files.
  if (const auto* embedding = find_tensor(file, "token_embd.weight"); embedding && embedding->shape.size() == 2) {
    return std::clamp<int64_t>(embedding->shape[0], 1, kMaxExtent);
  }
  if (const auto size = fields.find_int("vocab_size", 1, kMaxExtent)) return *size;
  return static_cast<int64_t>(file.get_strings("tokenizer.ggml.tokens").size());
}

}  // namespace

ModelConfig gguf_config(const GgufFile& file) {
  const std::string architecture = file.get_string("general.architecture");
  const auto& known = gguf_architectures();
  if (std::find(known.begin(), known.end(), architecture) == known.end()) {
    throw Error(ErrorCode::unsupported, "read " + file.source,
                fmt::format("architecture {}", in_quotes(architecture)),
                fmt::format("{}", fmt::join(known, ", ")));
  }
  const GgufFields fields(file, architecture);
  if (fields.find_int("expert_count", 0, kMaxExtent).value_or(0) > 0) {
    throw Error(ErrorCode::unsupported, "read " + file.source, "a mixture of experts in GGUF", "dense models");
  }

  ModelConfig config;
  config.architecture = architecture;
  config.hidden_size = fields.get_int("embedding_length", 1, kMaxExtent);
  config.intermediate_size = fields.get_int("feed_forward_length", 1, kMaxExtent);
  config.num_hidden_layers = fields.get_int("block_count", 1, kMaxLayers);
  config.num_attention_heads = fields.get_int("attention.head_count", 1, kMaxExtent);
  config.num_key_value_heads =
      fields.find_int("attention.head_count_kv", 1, kMaxExtent).value_or(config.num_attention_heads);
  config.max_position_embeddings = fields.get_int("context_length", 1, kMaxContext);
  const auto eps = fields.find_positive("attention.layer_norm_rms_epsilon");
  if (!eps)
    invalid(file.source, fmt::format("metadata '{}.attention.layer_norm_rms_epsilon' is missing", architecture));
  config.rms_norm_eps = *eps;
  const auto key = fields.find_int("attention.key_length", 1, kMaxExtent);
  const auto value = fields.find_int("attention.value_length", 1, kMaxExtent);
  config.head_dim = key ? *key : default_head_dim(config, file.source);
  if (value && *value != config.head_dim) {
    throw Error(ErrorCode::unsupported, "read " + file.source,
                fmt::format("keys of {} and values of {} dimensions", config.head_dim, *value), "equal ones");
  }
  config.vocab_size = gguf_vocab_size(file, fields);
  read_gguf_rope(file, fields, config);
  config.sliding_window = fields.find_int("attention.sliding_window", 0, kMaxContext);
  if (config.sliding_window == 0) config.sliding_window.reset();
  // llama.cpp reads Mistral models as llama; only transformers' Mistral has the window.
  if (config.sliding_window && architecture == "llama") config.architecture = "mistral";
  // A file without tensors (a vocabulary) says nothing about ties.
  config.tie_word_embeddings = !file.tensors.empty() && !has_tensor(file, "output.weight");
  config.attention_bias = has_tensor(file, "blk.0.attn_q.bias");
  config.output_bias = has_tensor(file, "blk.0.attn_output.bias");
  config.mlp_bias = has_tensor(file, "blk.0.ffn_gate.bias");
  read_gguf_tokens(file, config);
  check_gguf_fields(file, architecture, config);
  if (config.attention_bias && find_architecture(config.architecture)->attention_bias == Bias::never) {
    config.unsupported.push_back({fmt::format("biases in a GGUF of {}", config.architecture), "none"});
  }
  check(config, file.source);
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
  json["rope_theta"] = config.rope_theta;
  json["rope_scaling"] = nullptr;
  if (const auto& rope = config.rope_scaling) {
    auto& scaling = json["rope_scaling"];
    scaling["rope_type"] = rope->type;
    scaling["factor"] = rope->factor;
    if (rope->type == "llama3") {
      scaling["low_freq_factor"] = rope->low_freq_factor;
      scaling["high_freq_factor"] = rope->high_freq_factor;
    }
    if (const auto length = rope->original_max_position_embeddings) {
      scaling["original_max_position_embeddings"] = *length;
    }
  }
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
