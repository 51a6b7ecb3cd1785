#include "model/rope_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "model/config_checks.h"

namespace mxq {

namespace {

using Json = nlohmann::json;

constexpr const char *kOriginal = "original_max_position_embeddings", *kPart = "partial_rotary_factor",
                     *kParameters = "rope_parameters", *kFull = "full_attention", *kSliding = "sliding_attention";

/// What each type cannot do without.
const std::map<std::string, std::vector<std::string>>& types() {
  static const std::map<std::string, std::vector<std::string>> needed{
      {"linear", {"factor"}},
      {"dynamic", {"factor"}},
      {"yarn", {"factor"}},
      {"longrope", {"short_factor", "long_factor"}},
      {"llama3", {"factor", "low_freq_factor", "high_freq_factor", kOriginal}}};
  return needed;
}

class RopeReader {
 public:
  RopeReader(const ConfigFields& fields, const Architecture& architecture, ModelConfig& config)
      : fields_(fields),
        architecture_(architecture),
        config_(config),
        name_(fields.find("rope_scaling") ? "rope_scaling" : kParameters) {}

  void read() {
    const auto outer_theta = fields_.find_positive("rope_theta");
    config_.rope.theta = outer_theta.value_or(architecture_.default_rope_theta);
    auto scaling = fields_.find_object(name_);
    if (!scaling) return;
    const Json *scalings = fields_.find("rope_scaling"), *parameters = fields_.find(kParameters);
    if (scalings != nullptr && parameters != nullptr && *scalings != *parameters) {
      refuse("'rope_scaling' and 'rope_parameters' that differ", "one of the two");
    }
    // transformers 5 has them by the kind of layer where the kinds differ.
    if (!architecture_.window_rope_field.empty() && scaling->contains(kFull)) {
      for (const auto& [key, value] : scaling->object().items()) {
        if (key != kFull && key != kSliding) config_.unknown_fields.push_back(name_ + "." + key);
      }
      scaling = scaling->find_object(kFull);
      name_ += std::string(".") + kFull;
      if (!scaling) return;
    }
    const auto inner_theta = scaling->find_positive("rope_theta");
    if (outer_theta && inner_theta && *outer_theta != *inner_theta) {
      refuse(fmt::format("'rope_theta' is {}, and {} in '{}'", *outer_theta, *inner_theta, name_), "the same in both");
    }
    config_.rope.theta = inner_theta.value_or(config_.rope.theta);
    check_keys(*scaling);
    read_type(*scaling);
  }

 private:
  void refuse(std::string given, std::string supported) {
    config_.unsupported.push_back({std::move(given), std::move(supported)});
  }

  void check_keys(const ConfigFields& scaling) {
    static constexpr std::array<std::string_view, 16> known{
        "rope_type",        "type",           "rope_theta",        "factor",    "low_freq_factor",
        "high_freq_factor", "mrope_section",  "mrope_interleaved", "beta_fast", "beta_slow",
        "mscale",           "mscale_all_dim", "attention_factor",  "truncate",  "short_factor",
        "long_factor"};
    for (const auto& [key, value] : scaling.object().items()) {
      if (value.is_object()) {
        refuse(fmt::format("'{}' has parameters by the kind of layer ('{}')", name_, key), "one set for all layers");
      } else if (key == kPart) {
        read_part(scaling);
      } else if (key != kOriginal && std::find(known.begin(), known.end(), key) == known.end()) {
        config_.unknown_fields.push_back(name_ + "." + key);
      }
    }
  }

  /// Where transformers 5 has it.
  void read_part(const ConfigFields& scaling) {
    const auto outer = fields_.find_positive(kPart), inner = scaling.find_positive(kPart);
    if (!inner || *inner == config_.rotary_part) return;
    // Beside it transformers 5 writes the default.
    const bool alone = !outer || *outer == architecture_.default_rotary_part;
    if (architecture_.find_field(kPart)->use == ConfigField::read && alone && name_ == kParameters) {
      config_.rotary_part = *inner;
    } else {
      refuse(fmt::format("'{}.{}' is {}", name_, kPart, *inner), fmt::format("{}", config_.rotary_part));
    }
  }

  void read_type(const ConfigFields& scaling) {
    auto type = scaling.find_string("rope_type");
    if (!type) type = scaling.find_string("type");
    if (!type) {
      if (scaling.contains("factor")) refuse(fmt::format("'{}' has a factor and no rope_type", name_), "a rope_type");
      return;
    }
    const auto& longropes = architecture_.longrope_names;
    if (std::find(longropes.begin(), longropes.end(), *type) != longropes.end()) type = "longrope";
    // Three positions a token, of time, height and width: those of text are equal.
    if (*type == "default" || (*type == "mrope" && config_.architecture.starts_with("qwen2_"))) return;
    const auto needs = types().find(*type);
    if (needs == types().end()) {
      std::vector<std::string> names{"default"};
      for (const auto& [name, _] : types()) names.push_back(name);
      refuse(fmt::format("'{}' of type {}", name_, shown(*type)), fmt::format("{}", fmt::join(names, ", ")));
    } else {
      for (const auto& number : needs->second) {
        if (scaling.find(number) != nullptr) continue;
        refuse(fmt::format("'{}' of type {} lacks '{}'", name_, shown(*type), number),
               fmt::format("{}", fmt::join(needs->second, ", ")));
      }
    }
    config_.rope.scaling = numbers(scaling, *type);
  }

  RopeScaling numbers(const ConfigFields& scaling, const std::string& type) {
    // 0 is how some models say "none".
    const auto unless_0 = [&](const std::string& name) -> std::optional<double> {
      const Json* value = scaling.find(name);
      return value != nullptr && value->is_number() && *value == 0 ? std::nullopt : scaling.find_positive(name);
    };
    RopeScaling rope;
    rope.type = type;
    rope.factor = scaling.find_positive("factor").value_or(1.0);
    rope.low_freq_factor = scaling.find_positive("low_freq_factor").value_or(rope.low_freq_factor);
    rope.high_freq_factor = scaling.find_positive("high_freq_factor").value_or(rope.high_freq_factor);
    rope.original_max_position_embeddings = scaling.find_int(kOriginal, 1, kMaxContext);
    rope.beta_fast = unless_0("beta_fast").value_or(rope.beta_fast);
    rope.beta_slow = unless_0("beta_slow").value_or(rope.beta_slow);
    rope.attention_factor = scaling.find_positive("attention_factor");
    rope.mscale = unless_0("mscale");
    rope.mscale_all_dim = unless_0("mscale_all_dim");
    rope.truncate = scaling.get_bool("truncate", true);
    rope.short_factor = scaling.find_positives("short_factor");
    rope.long_factor = scaling.find_positives("long_factor");
    if (type == "longrope") complete_longrope(scaling, rope);
    return rope;
  }

  void complete_longrope(const ConfigFields& scaling, RopeScaling& rope) {
    const auto pairs = static_cast<size_t>(config_.rotary_dim() / 2);
    for (const auto& [name, list] :
         {std::pair("short_factor", &rope.short_factor), {"long_factor", &rope.long_factor}}) {
      if (list->empty() || list->size() == pairs) continue;
      refuse(fmt::format("'{}.{}' has {} numbers", name_, name, list->size()),
             fmt::format("{}, one for each pair of the {} dimensions that rotate", pairs, config_.rotary_dim()));
    }
    // transformers 4 looks for the original length beside rope_scaling, transformers 5 in rope_parameters.
    auto outer = fields_.find_int(kOriginal, 1, kMaxContext);
    if (!outer) outer = architecture_.default_original_positions;
    const auto inner = rope.original_max_position_embeddings;
    if (outer && inner && *outer != *inner) {
      refuse(fmt::format("'{}' is {}, and {} in '{}'", kOriginal, *outer, *inner, name_), "the same in both");
    } else if (inner && !outer && name_ == "rope_scaling") {
      refuse(fmt::format("'{}' stands in 'rope_scaling' alone, where transformers 4 does not look", kOriginal),
             "the field beside 'rope_scaling'");
    }
    rope.original_max_position_embeddings = outer ? outer : inner;
    if (const auto original = rope.original_max_position_embeddings) {
      rope.factor = static_cast<double>(config_.max_position_embeddings) / static_cast<double>(*original);
    } else if (scaling.find("factor") == nullptr && !rope.attention_factor) {
      refuse(fmt::format("'{}' of type \"longrope\" lacks 'factor'", name_),
             fmt::format("'factor', 'attention_factor' or '{}'", kOriginal));
    }
  }

  const ConfigFields& fields_;
  const Architecture& architecture_;
  ModelConfig& config_;
  std::string name_;
};

}  // namespace

void read_rope(const ConfigFields& fields, const Architecture& architecture, ModelConfig& config) {
  RopeReader(fields, architecture, config).read();
}

RopeSettings read_window_rope(const ConfigFields& fields, const Architecture& architecture, double usual,
                              ModelConfig& config) {
  const std::string field(architecture.window_rope_field), name = fmt::format("{}.{}", kParameters, kSliding);
  const auto outer = fields.find_positive(field);
  RopeSettings rope{.theta = outer.value_or(usual), .scaling = {}};
  const auto parameters = fields.find_object(kParameters);
  const auto inside = parameters ? parameters->find_object(kSliding) : std::nullopt;
  if (!inside) return rope;
  for (const auto& [key, value] : inside->object().items()) {
    if (key == "rope_type") {
      if (value != "default") {
        config.unsupported.push_back({fmt::format("'{}' of type {}", name, shown(value)), "default"});
      }
    } else if (key != "rope_theta") {
      config.unknown_fields.push_back(name + "." + key);
    }
  }
  const auto inner = inside->find_positive("rope_theta");
  if (outer && inner && *outer != *inner) {
    config.unsupported.push_back(
        {fmt::format("'{}' is {}, and {} in '{}'", field, *outer, *inner, name), "the same in both"});
  }
  rope.theta = inner.value_or(rope.theta);
  return rope;
}

void write_rope(const ModelConfig& config, const Architecture& architecture, nlohmann::ordered_json& json) {
  json["rope_theta"] = config.rope.theta;
  json["rope_scaling"] = nullptr;
  if (!config.rope.scaling) return;
  const RopeScaling& rope = *config.rope.scaling;
  auto& scaling = json["rope_scaling"];
  // Classes that know other names for longrope look for no other key.
  scaling[architecture.longrope_names.empty() ? "rope_type" : "type"] = rope.type;
  const auto original = rope.original_max_position_embeddings;
  if (rope.type == "longrope") {
    scaling["short_factor"] = rope.short_factor;
    scaling["long_factor"] = rope.long_factor;
    if (original) json[kOriginal] = *original;
  } else if (original) {
    scaling[kOriginal] = *original;
  }
  if (rope.type != "longrope" || !original) scaling["factor"] = rope.factor;
  if (rope.type == "llama3") {
    scaling["low_freq_factor"] = rope.low_freq_factor;
    scaling["high_freq_factor"] = rope.high_freq_factor;
  }
  if (rope.type == "yarn") {
    scaling["beta_fast"] = rope.beta_fast;
    scaling["beta_slow"] = rope.beta_slow;
    if (!rope.truncate) scaling["truncate"] = false;
    if (rope.mscale) scaling["mscale"] = *rope.mscale;
    if (rope.mscale_all_dim) scaling["mscale_all_dim"] = *rope.mscale_all_dim;
  }
  if (rope.attention_factor) scaling["attention_factor"] = *rope.attention_factor;
}

}  // namespace mxq
