#include "format/compressed_tensors_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "format/json_fields.h"
#include "format/python_json.h"
#include "mxq/error.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char *kKey = "quantization_config", *kMethod = "compressed-tensors", *kFormat = "pack-quantized";
constexpr int64_t kLargestGroup = 1 << 20;

Json group_json(const CompressedTensorsConfig::Group& group) {
  const PackedWeights& weights = group.weights;
  Json json{{"targets", group.targets},
            {"weights",
             {{"num_bits", weights.bits},
              {"type", "int"},
              {"symmetric", weights.symmetric},
              {"group_size", weights.group > 0 ? weights.group : -1},
              {"strategy", weights.group > 0 ? "group" : "channel"},
              {"block_structure", nullptr},
              {"dynamic", false},
              {"actorder", nullptr},
              {"observer", "minmax"},
              {"observer_kwargs", Json::object()}}},
            {"input_activations", nullptr},
            {"output_activations", nullptr}};
  return json;
}

PackedWeights read_weights(const JsonFields& reader, const std::string& where, const std::string& source) {
  reader.only("type", "int");
  reader.only("dynamic", false);
  PackedWeights weights;
  weights.bits = reader.number("num_bits", 1, 8);
  weights.symmetric = reader.flag("symmetric", true);
  const bool grouped = reader.find("group_size") != nullptr && reader.number("group_size", -1, kLargestGroup) > 0;
  weights.group = grouped ? reader.number("group_size", 1, kLargestGroup) : 0;
  if (const Json* strategy = reader.find("strategy"); strategy != nullptr || !grouped) {
    const Json said = strategy != nullptr ? *strategy : reader.find("group_size") != nullptr ? "channel" : "tensor";
    if (said != (grouped ? "group" : "channel")) {
      throw Error(ErrorCode::unsupported, "read " + source, fmt::format("{}: 'strategy' is {}", where, said.dump()),
                  grouped ? "\"group\" with a group size" : "\"channel\", or \"group\" with a group size");
    }
  }
  return weights;
}

}  // namespace

std::string set_compressed_tensors(const std::string& config_json, const std::optional<CompressedTensorsConfig>& config,
                                   const std::string& source) {
  Json json = parse_json_object(config_json, source);
  json.erase(kKey);
  if (config) {
    Json groups = Json::object();
    for (size_t i = 0; i < config->groups.size(); ++i)
      groups[fmt::format("group_{}", i)] = group_json(config->groups[i]);
    json[kKey] = {{"quant_method", kMethod},
                  {"format", kFormat},
                  {"quantization_status", "compressed"},
                  {"global_compression_ratio", nullptr},
                  {"kv_cache_scheme", nullptr},
                  {"config_groups", std::move(groups)},
                  {"ignore", config->ignore}};
  }
  return print_python_json(json, 2) + "\n";
}

bool names_compressed_tensors(const std::string& config_json, const std::string& source) {
  const Json json = parse_json_object(config_json, source);
  const auto found = json.find(kKey);
  return found != json.end() && found->is_object() && found->value("quant_method", Json()) == kMethod;
}

std::optional<CompressedTensorsConfig> get_compressed_tensors(const std::string& config_json,
                                                              const std::string& source) {
  if (!names_compressed_tensors(config_json, source)) return {};
  const Json json = parse_json_object(config_json, source);
  const JsonFields reader(json.at(kKey), kKey, source);
  if (reader.at("format") != kFormat) {
    throw Error(ErrorCode::unsupported, "read " + source,
                fmt::format("weights of compressed-tensors in the format {}", reader.at("format").dump()), kFormat);
  }
  reader.only("kv_cache_scheme", nullptr);
  reader.only("transform_config", nullptr);
  if (const Json* sparsity = reader.find("sparsity_config"); sparsity != nullptr && !sparsity->empty()) {
    JsonFields(*sparsity, "sparsity_config", source).only("format", "dense");
  }
  CompressedTensorsConfig config;
  config.ignore = reader.texts("ignore");
  const Json& groups = reader.at("config_groups");
  if (!groups.is_object()) reader.wrong("'config_groups' is not an object");
  for (const auto& [name, value] : groups.items()) {
    if (value.is_array()) {
      throw Error(ErrorCode::unsupported, "read " + source, fmt::format("config_groups: '{}' is named only", name),
                  "a group that says its bits and group size");
    }
    const std::string where = fmt::format("config_groups: '{}'", name);
    const JsonFields group(value, where, source);
    group.only("input_activations", nullptr);
    group.only("output_activations", nullptr);
    group.only("format", kFormat);
    const JsonFields weights(group.at("weights"), where, source);
    config.groups.push_back({read_weights(weights, where, source), group.texts("targets")});
  }
  return config;
}

}  // namespace mxq
