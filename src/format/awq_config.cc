#include "format/awq_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "format/json_fields.h"
#include "format/python_json.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char *kKey = "quantization_config", *kMethodKey = "quant_method", *kMethod = "awq", *kPacking = "gemm";
constexpr int64_t kBits = 4, kLargestGroup = 1 << 20;

/// AutoAWQ's first files have other names for two fields.
const char* name_of(const JsonFields& fields, const char* name, const char* old) {
  return fields.find(name) == nullptr && fields.find(old) != nullptr ? old : name;
}

AwqConfig read_config(const Json& object, const std::string& where, const std::string& source) {
  const JsonFields fields(object, where, source);
  const char *const bits = name_of(fields, "bits", "w_bit"), *const group =
                                                                 name_of(fields, "group_size", "q_group_size");
  if (fields.number(bits, 1, 32) != kBits) fields.refuse(bits, "4");
  for (const char* key : {"version", "checkpoint_format", "format"}) {
    if (fields.word(key, kPacking) != kPacking) fields.refuse(key, kPacking);
  }
  if (fields.word("backend", "autoawq") == "llm-awq") fields.refuse("backend", "one that packs as autoawq does");
  fields.only("pack_dtype", "int32");
  AwqConfig config;
  const int64_t columns = fields.number(group, -1, kLargestGroup);
  if (columns == 0) fields.wrong(fmt::format("'{}' is 0", group));
  config.group = columns > 0 ? columns : 0;
  config.plain = fields.texts("modules_to_not_convert");
  return config;
}

std::string escaped(const std::string& name) {
  std::string result;
  for (const char c : name) {
    if (c == '.') result += '\\';
    result += c;
  }
  return result;
}

}  // namespace

std::string set_awq_config(const std::string& config_json, const AwqConfig& config, const std::string& source) {
  Json json = parse_json_object(config_json, source);
  Json quantization{{kMethodKey, kMethod}, {"version", kPacking},
                    {"bits", kBits},       {"group_size", config.group > 0 ? config.group : -1},
                    {"zero_point", true},  {"modules_to_not_convert", config.plain}};
  // GPTQModel takes no notice of that list.
  for (const std::string& name : config.plain) {
    quantization["dynamic"][fmt::format("-:^{}$", escaped(name))] = Json::object();
  }
  json[kKey] = std::move(quantization);
  return print_python_json(json, 2) + "\n";
}

std::optional<AwqConfig> get_awq_config(const std::string& config_json, const std::string& source) {
  const Json json = parse_json_object(config_json, source);
  const auto found = json.find(kKey);
  if (found == json.end() || !found->is_object() || found->value(kMethodKey, Json()) != kMethod) return {};
  return read_config(*found, kKey, source);
}

AwqConfig get_awq_config_alone(const std::string& quant_config_json, const std::string& source) {
  return read_config(parse_json_object(quant_config_json, source), "the file", source);
}

}  // namespace mxq
