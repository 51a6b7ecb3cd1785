#include "model/gguf_rope.h"

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "model/config_checks.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr const char *kType = "rope.scaling.type", *kFactor = "rope.scaling.factor",
                     *kOriginal = "rope.scaling.original_context_length", *kMagnitude = "rope.scaling.attn_factor";
constexpr const char *kBase = "rope.freq_base", *kRotated = "rope.dimension_count",
                     *kBetaFast = "rope.scaling.yarn_beta_fast", *kBetaSlow = "rope.scaling.yarn_beta_slow",
                     *kYarnMagnitude = "rope.scaling.yarn_attn_factor";
constexpr const char *kLlama3 = "rope_freqs.weight", *kShort = "rope_factors_short.weight",
                     *kLong = "rope_factors_long.weight";

[[noreturn]] void refuse(const GgufFields& fields, std::string given, std::string supported) {
  throw Error(ErrorCode::unsupported, "read " + fields.file().source, std::move(given), std::move(supported));
}

void read_rotary_part(const GgufFields& fields, const Architecture& architecture, ModelConfig& config) {
  const auto rotated = fields.find_int(kRotated, 1, kMaxExtent);
  if (!rotated || *rotated == config.head_dim) return;
  const bool partial = architecture.find_field("partial_rotary_factor")->use == ConfigField::read;
  if (!partial || *rotated > config.head_dim || *rotated % 2 != 0) {
    refuse(fields, fmt::format("rotary embedding of {} of a head's {} dimensions", *rotated, config.head_dim),
           partial ? "an even number of them" : "all of them");
  }
  config.rotary_part = static_cast<double>(*rotated) / static_cast<double>(config.head_dim);
  while (config.rotary_dim() < *rotated) config.rotary_part = std::nextafter(config.rotary_part, 1.0);
}

// By what llama3's scaling divides the frequency of each pair.
std::vector<double> divisors_of(const ModelConfig& config, const RopeScaling& scaling) {
  RopeShape shape = config.rope_shape();
  shape.settings.scaling.reset();
  std::vector<double> divisors = rope_angles(shape, 0).frequencies;
  shape.settings.scaling = scaling;
  const auto scaled = rope_angles(shape, 0).frequencies;
  for (size_t i = 0; i < divisors.size(); ++i) divisors[i] /= scaled[i];
  return divisors;
}

// GGUF holds llama3's scaling as the table of divisors only. The three parameters that its conversion has lost are the
// same for all published models; whether they hold here is checked against the table.
RopeScaling llama3(const GgufFields& fields, const TensorView& tensor, const ModelConfig& config) {
  RopeScaling rope;
  rope.type = "llama3";
  rope.original_max_position_embeddings = 8192;
  std::vector<double> divisors;
  if (tensor.dtype == DType::f32 && tensor.elements() * 2 == config.head_dim) {
    try {
      divisors = fields.table(tensor);
    } catch (const Error&) {  // no divisors: said below
    }
  }
  bool same = !divisors.empty();
  if (same) {
    rope.factor = divisors.back();
    const auto wanted = divisors_of(config, rope);
    for (size_t i = 0; same && i < divisors.size(); ++i) {
      same = std::abs(divisors[i] - wanted[i]) <= 1e-4 * wanted[i];
    }
  }
  if (!same) {
    refuse(fields, fmt::format("tensor '{}' is not the table of Llama 3's rope scaling", kLlama3),
           "factor f, low_freq_factor 1, high_freq_factor 4, original context 8192");
  }
  return rope;
}

RopeScaling longrope(const GgufFields& fields, const TensorView* near, const TensorView* far,
                     const ModelConfig& config) {
  const int64_t pairs = config.rotary_dim() / 2;
  const auto table = [&](const char* name, const TensorView* tensor) {
    if (tensor == nullptr) refuse_config(fields.file().source, fmt::format("tensor '{}' is missing", name));
    if (tensor->elements() != pairs) {
      refuse_config(fields.file().source, fmt::format("tensor '{}' has {} numbers", name, tensor->elements()),
                    fmt::format("{}, one for each pair of the {} dimensions that rotate", pairs, config.rotary_dim()));
    }
    return fields.table(*tensor);
  };
  RopeScaling rope;
  rope.type = "longrope";
  rope.short_factor = table(kShort, near);
  rope.long_factor = table(kLong, far);
  rope.original_max_position_embeddings = fields.get_int(kOriginal, 1, kMaxContext);
  rope.factor =
      static_cast<double>(config.max_position_embeddings) / static_cast<double>(*rope.original_max_position_embeddings);
  return rope;
}

RopeScaling yarn(const GgufFields& fields) {
  RopeScaling rope;
  rope.type = "yarn";
  rope.factor = fields.find_positive(kFactor).value_or(1.0);
  rope.original_max_position_embeddings = fields.find_int(kOriginal, 1, kMaxContext);
  rope.beta_fast = fields.find_unless_0(kBetaFast).value_or(rope.beta_fast);
  rope.beta_slow = fields.find_unless_0(kBetaSlow).value_or(rope.beta_slow);
  rope.attention_factor = fields.find_unless_0(kYarnMagnitude);
  return rope;
}

std::optional<RopeScaling> read_scaling(const GgufFields& fields, const ModelConfig& config) {
  if (const auto* table = fields.find_tensor(kLlama3)) return llama3(fields, *table, config);
  const TensorView *near = fields.find_tensor(kShort), *far = fields.find_tensor(kLong);
  // llama.cpp takes a factor without a type for that of linear scaling.
  const auto given = fields.find_string(kType);
  const std::string type = given                                       ? *given
                           : near != nullptr || far != nullptr         ? "longrope"
                           : fields.find_unless_0(kFactor).has_value() ? "linear"
                                                                       : "none";
  if (type == "longrope" && (near != nullptr || far != nullptr)) return longrope(fields, near, far, config);
  if (near != nullptr || far != nullptr || (type != "none" && type != "linear" && type != "yarn")) {
    refuse(fields, fmt::format("rope scaling of type '{}'", printable(type, 200)),
           "none, linear, yarn, Llama 3's, or longrope with its tables");
  }
  if (type == "none") return std::nullopt;
  if (type == "yarn") return yarn(fields);
  RopeScaling rope;
  rope.type = type;
  rope.factor = fields.find_unless_0(kFactor).value_or(1.0);
  return rope;
}

// By what llama.cpp multiplies cosines and sines, beside what follows from the type (yarn).
void check_magnitude(const GgufFields& fields, ModelConfig& config) {
  const bool longrope = config.rope.scaling && config.rope.scaling->type == "longrope";
  const double wanted = longrope ? rope_angles(config.rope_shape(), 0).scale : 1;
  const double given = fields.find_unless_0(kMagnitude).value_or(1.0);
  if (std::abs(given - wanted) <= 1e-6 * wanted) return;
  config.unsupported.push_back(
      {fields.contains(kMagnitude) ? fmt::format("'{}' is {}", fields.key(kMagnitude), given)
                                   : fmt::format("'{}' is missing", fields.key(kMagnitude)),
       longrope ? fmt::format("{:.9g}, by transformers' rule of longrope", wanted) : "0 or 1"});
}

}  // namespace

void read_gguf_rope(const GgufFields& fields, const Architecture& architecture, ModelConfig& config) {
  config.rope.theta = fields.find_positive(kBase).value_or(10000.0);
  read_rotary_part(fields, architecture, config);
  config.rope.scaling = read_scaling(fields, config);
  check_magnitude(fields, config);
}

void write_gguf_rope(const ModelConfig& config, GgufKeys& keys) {
  keys.f32(kBase, config.rope.theta);
  keys.u32(kRotated, config.rotary_dim());
  if (!config.rope.scaling || config.rope.scaling->type == "llama3") return;
  const RopeScaling& scaling = *config.rope.scaling;
  keys.text(kType, scaling.type);
  if (scaling.type == "linear" || scaling.type == "yarn") keys.f32(kFactor, scaling.factor);
  if (scaling.original_max_position_embeddings) keys.u32(kOriginal, *scaling.original_max_position_embeddings);
  if (scaling.type == "longrope") keys.f32(kMagnitude, rope_angles(config.rope_shape(), 0).scale);
  if (scaling.type != "yarn") return;
  keys.f32(kBetaFast, scaling.beta_fast);
  keys.f32(kBetaSlow, scaling.beta_slow);
  if (scaling.attention_factor) keys.f32(kYarnMagnitude, *scaling.attention_factor);
}

std::vector<std::pair<std::string, std::vector<double>>> gguf_rope_tables(const ModelConfig& config) {
  if (!config.rope.scaling) return {};
  const RopeScaling& scaling = *config.rope.scaling;
  if (scaling.type == "llama3") return {{kLlama3, divisors_of(config, scaling)}};
  if (scaling.type == "longrope") return {{kLong, scaling.long_factor}, {kShort, scaling.short_factor}};
  return {};
}

}  // namespace mxq
