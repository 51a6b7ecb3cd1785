#include "format/mlx_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "format/json_fields.h"
#include "format/python_json.h"
#include "mxq/error.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char *kKey = "quantization", *kCopy = "quantization_config";
constexpr const char *kBits = "bits", *kGroup = "group_size", *kMode = "mode";
constexpr int64_t kMost = 1 << 20;  // of a group

Json numbers(const MlxQuantization::Scheme& scheme) {
  return {{kGroup, scheme.group}, {kBits, scheme.bits}};
}

MlxQuantization::Scheme read_scheme(const Json& object, const std::string& where, const std::string& source) {
  const auto number = [&](const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_number_integer() || *found < 1 || *found > kMost) {
      throw Error(ErrorCode::invalid_file, "read " + source,
                  fmt::format("{}: '{}' is {}", where, key, found == object.end() ? "missing" : found->dump()),
                  "a whole number of 1 or more");
    }
    return found->get<int64_t>();
  };
  MlxQuantization::Scheme scheme{number(kBits), number(kGroup), "affine"};
  if (const auto mode = object.find(kMode); mode != object.end()) {
    if (!mode->is_string()) {
      throw Error(ErrorCode::invalid_file, "read " + source, fmt::format("{}: '{}' is no string", where, kMode));
    }
    scheme.mode = mode->get<std::string>();
  }
  return scheme;
}

}  // namespace

std::string set_mlx_quantization(const std::string& config_json, const std::optional<MlxQuantization>& quantization,
                                 const std::string& source) {
  Json config = parse_json_object(config_json, source);
  config.erase(kKey);
  config.erase(kCopy);
  if (quantization) {
    Json json = numbers(quantization->usual);
    json[kMode] = quantization->usual.mode;
    for (const auto& [name, scheme] : quantization->modules) json[name] = scheme ? numbers(*scheme) : Json(false);
    config[kKey] = json;
    config[kCopy] = std::move(json);
  }
  return print_python_json(config, 2) + "\n";
}

std::optional<MlxQuantization> get_mlx_quantization(const std::string& config_json, const std::string& source) {
  const Json config = parse_json_object(config_json, source);
  const auto found = config.find(kKey);
  if (found == config.end() || !found->is_object() || !found->contains(kGroup)) return {};
  MlxQuantization quantization{read_scheme(*found, kKey, source), {}};
  for (const auto& [name, value] : found->items()) {
    if (value.is_object()) {
      quantization.modules[name] = read_scheme(value, name, source);
    } else if (value.is_boolean()) {
      quantization.modules[name] = value.get<bool>() ? std::optional(quantization.usual) : std::nullopt;
    }
  }
  return quantization;
}

std::string add_missing_fields(const std::string& config_json, const std::string& more, const std::string& source) {
  Json config = parse_json_object(config_json, source);
  const Json other = parse_json_object(more, source);
  for (const auto& [name, value] : other.items()) {
    if (!config.contains(name)) config[name] = value;
  }
  return print_python_json(config, 2) + "\n";
}

}  // namespace mxq
