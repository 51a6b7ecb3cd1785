// The configuration that GGUF metadata describe.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <initializer_list>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_checks.h"
#include "model/gguf_fields.h"
#include "model/gguf_names.h"
#include "model/gguf_rope.h"
#include "model/window_config.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

/// Whether a tensor that is one of these parts comes with a bias in some layer.
bool has_bias(const GgufFields& fields, const Architecture& architecture, std::initializer_list<LayerPart> parts) {
  const auto& tensors = fields.file().tensors;
  return std::any_of(tensors.begin(), tensors.end(), [&](const TensorView& view) {
    const auto known = hf_name_from_gguf(architecture, view.name);
    return known && known->tensor != nullptr && known->name.ends_with(".bias") &&
           std::find(parts.begin(), parts.end(), known->tensor->part) != parts.end();
  });
}

void read_gguf_biases(const GgufFields& fields, const Architecture& architecture, ModelConfig& config) {
  using enum LayerPart;
  config.attention_bias = has_bias(fields, architecture, {q, k, v, qkv});
  config.output_bias = has_bias(fields, architecture, {o});
  config.mlp_bias = has_bias(fields, architecture, {gate, up, gate_up, down});
  if ((config.attention_bias && architecture.attention_bias == Bias::never) ||
      (config.output_bias && architecture.output_bias == Bias::never) ||
      (config.mlp_bias && architecture.mlp_bias == Bias::never)) {
    config.unsupported.push_back({fmt::format("biases in a GGUF of {}", config.architecture), "none"});
  }
}

// Which layers have the window, of an architecture that has one in some of them.
std::vector<bool> gguf_window_layers(const GgufFields& fields, const Architecture& architecture,
                                     const ModelConfig& config) {
  constexpr const char* name = "attention.sliding_window_pattern";
  if (const auto flags = fields.find_flags(name)) {
    if (std::ssize(*flags) != config.num_hidden_layers) {
      refuse_config(fields.file().source, fmt::format("'{}' has {} entries", fields.key(name), flags->size()),
                    fmt::format("one for each of {} layers", config.num_hidden_layers));
    }
    return *flags;
  }
  return window_pattern(config, fields.find_int(name, 1, kMaxExtent).value_or(architecture.window_pattern));
}

void read_gguf_window(const GgufFields& fields, const Architecture& architecture, ModelConfig& config) {
  constexpr const char* name = "attention.sliding_window";
  config.sliding_window = fields.find_int(name, 0, kMaxContext);
  if (architecture.window == WindowRule::pattern) {
    config.window_layers = gguf_window_layers(fields, architecture, config);
    // Of such models a config.json says by layer that there is no window.
    if (config.sliding_window == 0) config.window_layers.assign(config.window_layers.size(), false);
    if (config.sliding_window.value_or(0) == 0) config.sliding_window = architecture.default_window;
    return;
  }
  if (config.sliding_window == 0) config.sliding_window.reset();
  if (!config.sliding_window) return;
  // llama.cpp reads Mistral models as llama; only transformers' Mistral has the window.
  if (config.architecture == "llama") {
    config.architecture = "mistral";
  } else if (architecture.window == WindowRule::none || architecture.window == WindowRule::without_rope) {
    config.unsupported.push_back({fmt::format("'{}' is {}", fields.key(name), *config.sliding_window), "0"});
  }
}

// Where such layers are honoured, block_count counts them too.
void read_gguf_mtp(const GgufFields& fields, const Architecture& architecture, ModelConfig& config) {
  constexpr const char* name = "nextn_predict_layers";
  if (architecture.find_gguf_field(name)->use != ConfigField::read) return;
  config.mtp_layers = fields.find_int(name, 0, 1).value_or(0);
  config.num_hidden_layers -= config.mtp_layers;
  if (config.num_hidden_layers == 0) {
    refuse_config(fields.file().source, fmt::format("'{}' is 1", fields.key("block_count")),
                  fmt::format("more than '{}' 1", fields.key(name)));
  }
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
void check_gguf_fields(const GgufFile& file, const Architecture& architecture, const std::string& prefix,
                       ModelConfig& config) {
  for (const auto& [key, value] : file.metadata) {
    if (!key.starts_with(prefix)) continue;
    const ConfigField* field = architecture.find_gguf_field(std::string_view(key).substr(prefix.size()));
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

int64_t gguf_vocab_size(const GgufFields& fields) {
  // The embedding is the truth: the key is missing in some files.
  if (const auto* embedding = fields.find_tensor("token_embd.weight"); embedding && embedding->shape.size() == 2) {
    return std::clamp<int64_t>(embedding->shape[0], 1, kMaxExtent);
  }
  if (const auto size = fields.find_int("vocab_size", 1, kMaxExtent)) return *size;
  return static_cast<int64_t>(fields.file().get_strings("tokenizer.ggml.tokens").size());
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
  const int64_t experts = fields.find_int("expert_count", 0, kMaxExperts).value_or(0);
  if (experts > 0 && !known->gguf_mixture.empty()) known = find_architecture(known->gguf_mixture);
  if ((experts > 0) != !known->mixture_tensors.empty()) {
    throw Error(ErrorCode::unsupported, "read " + file.source, fmt::format("'{}' of {} experts", architecture, experts),
                experts > 0 ? "experts in llama, qwen2moe, qwen3moe and gpt-oss" : "1 or more");
  }

  ModelConfig config;
  config.architecture = known->name;
  config.hidden_size = fields.get_int("embedding_length", 1, kMaxExtent);
  if (known->dense_networks) config.intermediate_size = fields.get_int("feed_forward_length", 1, kMaxExtent);
  config.num_hidden_layers = fields.get_int("block_count", 1, kMaxLayers);
  read_gguf_mtp(fields, *known, config);
  config.num_attention_heads = fields.get_int("attention.head_count", 1, kMaxExtent);
  config.num_key_value_heads =
      fields.find_int("attention.head_count_kv", 1, kMaxExtent).value_or(config.num_attention_heads);
  config.max_position_embeddings = fields.get_int("context_length", 1, kMaxContext);
  config.norm_eps = fields.get_positive(known->norm == Norm::layer ? "attention.layer_norm_epsilon"
                                                                   : "attention.layer_norm_rms_epsilon");
  const auto key = fields.find_int("attention.key_length", 1, kMaxExtent);
  const auto value = fields.find_int("attention.value_length", 1, kMaxExtent);
  config.head_dim = key ? *key : default_head_dim(config, file.source);
  if (value && *value != config.head_dim) {
    throw Error(ErrorCode::unsupported, "read " + file.source,
                fmt::format("keys of {} and values of {} dimensions", config.head_dim, *value), "equal ones");
  }
  config.vocab_size = gguf_vocab_size(fields);
  config.activation = known->clamped_activation             ? Activation::clamped
                      : known->default_activation == "silu" ? Activation::silu
                                                            : Activation::gelu;
  read_gguf_rope(fields, *known, config);
  read_gguf_window(fields, *known, config);
  // A file without tensors (a vocabulary) says nothing about ties.
  config.tie_word_embeddings = !file.tensors.empty() && fields.find_tensor("output.weight") == nullptr;
  read_gguf_biases(fields, *find_architecture(config.architecture), config);
  read_gguf_tokens(file, config);
  if (known->read_gguf != nullptr) known->read_gguf(fields, config);
  rotate_in_windows(*known, config);
  check_gguf_fields(file, *known, fields.key(""), config);
  check_config(config, file.source);
  return config;
}

}  // namespace mxq
