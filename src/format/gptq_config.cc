#include "format/gptq_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "format/json_fields.h"
#include "format/python_json.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char *kKey = "quantization_config", *kMethodKey = "quant_method", *kMethod = "gptq";
constexpr const char *kBits = "bits", *kGroup = "group_size", *kSymmetric = "sym";
constexpr const char *kVersion1 = "gptq", *kVersion2 = "gptq_v2";
constexpr int64_t kLargestGroup = 1 << 20;

int64_t stored_group(const GptqScheme& scheme) {
  return scheme.group > 0 ? scheme.group : -1;
}

/// Names as an expression that matches nothing else. "+:" is what some readers ask for where others take none.
std::string pattern(const GptqConfig::Rule& rule) {
  std::string block;
  for (const char c : rule.block) {
    if (c == '.') block += '\\';
    block += c;
  }
  return fmt::format(R"({}:^{}\.(?:{})$)", rule.scheme ? '+' : '-', block, fmt::join(rule.leaves, "|"));
}

Json config_json_of(const GptqConfig& config) {
  Json rules = Json::object();
  for (const auto& rule : config.rules) {
    rules[pattern(rule)] =
        rule.scheme ? Json{{kBits, rule.scheme->bits}, {kGroup, stored_group(*rule.scheme)}} : Json::object();
  }
  Json json{{kBits, config.usual.bits},
            {kGroup, stored_group(config.usual)},
            {"desc_act", false},
            {kSymmetric, config.usual.symmetric},
            {"lm_head", false},
            {kMethodKey, kMethod},
            {"checkpoint_format", config.version_2 ? kVersion2 : kVersion1},
            {"pack_dtype", "int32"}};
  if (!rules.empty()) json["dynamic"] = std::move(rules);
  if (!config.only.empty()) json["modules_in_block_to_quantize"] = Json::array({config.only});
  return json;
}

/// With the fields of `object`, others as in `usual`.
GptqScheme read_scheme(const JsonFields& fields, const GptqScheme& usual) {
  GptqScheme scheme = usual;
  if (fields.find(kBits) != nullptr) {
    scheme.bits = fields.number(kBits, 1, 32);
    if (scheme.bits != 2 && scheme.bits != 3 && scheme.bits != 4 && scheme.bits != 8) {
      fields.refuse(kBits, "2, 3, 4 or 8");
    }
  }
  if (fields.find(kGroup) != nullptr) {
    const int64_t group = fields.number(kGroup, -1, kLargestGroup);
    if (group == 0) fields.wrong("'group_size' is 0");
    scheme.group = group > 0 ? group : 0;
  }
  scheme.symmetric = fields.flag(kSymmetric, usual.symmetric);
  fields.only("pack_dtype", "int32");
  return scheme;
}

GptqPacking read_packing(const Json& object, const std::string& where, const std::string& source) {
  const JsonFields fields(object, where, source);
  fields.at(kBits);
  fields.at(kGroup);
  fields.only("is_marlin_format", false);
  fields.only("rotation", nullptr);
  fields.only("adapter", nullptr);
  GptqPacking packing;
  const char* const key = fields.find("checkpoint_format") != nullptr ? "checkpoint_format" : "format";
  const std::string format = fields.word(key, kVersion1);
  if (format != kVersion1 && format != kVersion2) fields.refuse(key, "gptq or gptq_v2");
  packing.less_one = format == kVersion1;
  packing.by_activations = fields.flag("desc_act", false);
  // Where nobody says that zeros are in the middle, they are what is stored.
  packing.schemes = {read_scheme(fields, {4, 128, false})};
  if (const Json* const rules = fields.find("dynamic")) {
    if (!rules->is_object()) fields.wrong("'dynamic' is not an object");
    for (const auto& [name, value] : rules->items()) {
      if (name.starts_with("-:")) continue;
      const JsonFields rule(value, fmt::format("{}: 'dynamic': '{}'", where, name), source);
      packing.by_activations |= rule.flag("desc_act", false);
      const GptqScheme scheme = read_scheme(rule, packing.schemes.front());
      const auto& known = packing.schemes;
      if (std::find(known.begin(), known.end(), scheme) == known.end()) packing.schemes.push_back(scheme);
    }
  }
  if (const Json* const meta = fields.find("meta"); meta != nullptr && meta->is_object()) {
    const auto names = [](const Json& writer) {
      return writer.is_string() && writer.get<std::string>().starts_with("gptqmodel");
    };
    const Json writer = meta->value("quantizer", Json());
    packing.carries = names(writer) || (writer.is_array() && std::any_of(writer.begin(), writer.end(), names));
  }
  return packing;
}

}  // namespace

std::string print_gptq_config(const GptqConfig& config) {
  return print_python_json(config_json_of(config), 2) + "\n";
}

std::string set_gptq_config(const std::string& config_json, const GptqConfig& config, const std::string& source) {
  Json json = parse_json_object(config_json, source);
  json[kKey] = config_json_of(config);
  return print_python_json(json, 2) + "\n";
}

std::optional<GptqPacking> get_gptq_packing(const std::string& config_json, const std::string& source) {
  const Json json = parse_json_object(config_json, source);
  const auto found = json.find(kKey);
  if (found == json.end() || !found->is_object() || found->value(kMethodKey, Json()) != kMethod) return {};
  return read_packing(*found, kKey, source);
}

std::optional<GptqPacking> get_gptq_packing_alone(const std::string& quantize_config_json, const std::string& source) {
  const Json json = parse_json_object(quantize_config_json, source);
  if (json.value(kMethodKey, Json(kMethod)) != kMethod) return {};
  return read_packing(json, "the file", source);
}

}  // namespace mxq
