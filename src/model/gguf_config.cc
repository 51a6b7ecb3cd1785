// The configuration that GGUF metadata describe.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_checks.h"
#include "model/gguf_names.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

/// Metadata under the architecture's prefix: missing, of another type or out of bounds, they are refused by name.
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
      refuse_config(file_.source, fmt::format("'{}' is {}", key, number),
                    fmt::format("an integer from {} to {}", low, high));
    }
    return number;
  }
  int64_t get_int(std::string_view name, int64_t low, int64_t high) const {
    const auto value = find_int(name, low, high);
    if (!value) refuse_config(file_.source, fmt::format("metadata '{}{}' is missing", prefix_, name));
    return *value;
  }
  std::optional<double> find_positive(std::string_view name) const {
    const std::string key = prefix_ + std::string(name);
    const auto value = file_.find_f32(key);
    if (!value) return std::nullopt;
    if (!std::isfinite(*value) || *value <= 0) {
      refuse_config(file_.source, fmt::format("'{}' is {}", key, *value), "a number above 0");
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
  bool same = pairs * 2 == config.head_dim && !divisors.empty() && divisors.back() > 0;
  if (same) rope.factor = divisors.back();
  RopeShape shape = config.rope_shape();
  const auto plain = rope_angles(shape, 0).frequencies;
  shape.settings.scaling = rope;
  const auto scaled = rope_angles(shape, 0).frequencies;
  for (size_t i = 0; same && i < divisors.size(); ++i) {
    const double wanted = plain[i] / scaled[i];
    same = std::abs(divisors[i] - wanted) <= 1e-4 * wanted;  // a NaN fails too
  }
  if (!same) {
    throw Error(ErrorCode::unsupported, "read " + file.source,
                "tensor 'rope_freqs.weight' is not the table of Llama 3's rope scaling",
                "factor f, low_freq_factor 1, high_freq_factor 4, original context 8192");
  }
  return rope;
}

void read_gguf_rope(const GgufFile& file, const GgufFields& fields, ModelConfig& config) {
  config.rope.theta = fields.find_positive("rope.freq_base").value_or(10000.0);
  const auto rotated = fields.find_int("rope.dimension_count", 1, kMaxExtent);
  const auto refuse = [&](std::string given, std::string supported) {
    throw Error(ErrorCode::unsupported, "read " + file.source, std::move(given), std::move(supported));
  };
  if (rotated && *rotated != config.head_dim) {
    refuse(fmt::format("rotary embedding of {} of a head's {} dimensions", *rotated, config.head_dim), "all of them");
  }
  if (const auto* table = find_tensor(file, "rope_freqs.weight")) {
    config.rope.scaling = rope_from_table(file, *table, config);
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
  config.rope.scaling = rope;
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
      config.unsupported.push_back(
          {fmt::format("{} is {}", in_quotes(key), given),
           field->allowed.empty() ? "no such key" : fmt::format("{}", fmt::join(field->allowed, " or "))});
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
  const Architecture* known = find_gguf_architecture(architecture);
  if (known == nullptr) {
    throw Error(ErrorCode::unsupported, "read " + file.source, fmt::format("architecture {}", in_quotes(architecture)),
                gguf_architecture_names());
  }
  const GgufFields fields(file, architecture);
  if (fields.find_int("expert_count", 0, kMaxExtent).value_or(0) > 0) {
    throw Error(ErrorCode::unsupported, "read " + file.source, "a mixture of experts in GGUF", "dense models");
  }

  ModelConfig config;
  config.architecture = known->name;
  config.hidden_size = fields.get_int("embedding_length", 1, kMaxExtent);
  config.intermediate_size = fields.get_int("feed_forward_length", 1, kMaxExtent);
  config.num_hidden_layers = fields.get_int("block_count", 1, kMaxLayers);
  config.num_attention_heads = fields.get_int("attention.head_count", 1, kMaxExtent);
  config.num_key_value_heads =
      fields.find_int("attention.head_count_kv", 1, kMaxExtent).value_or(config.num_attention_heads);
  config.max_position_embeddings = fields.get_int("context_length", 1, kMaxContext);
  const auto eps = fields.find_positive("attention.layer_norm_rms_epsilon");
  if (!eps)
    refuse_config(file.source, fmt::format("metadata '{}.attention.layer_norm_rms_epsilon' is missing", architecture));
  config.norm_eps = *eps;
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
  check_config(config, file.source);
  return config;
}

}  // namespace mxq
