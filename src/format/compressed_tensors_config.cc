#include "format/compressed_tensors_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "format/python_json.h"
#include "mxq/error.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char *kKey = "quantization_config", *kMethod = "compressed-tensors", *kFormat = "pack-quantized";
constexpr int64_t kLargestGroup = 1 << 20;

Json parse_object(const std::string& text, const std::string& source) {
  Json json = parse_python_json_in_order(text, "read " + source);
  if (!json.is_object()) throw Error(ErrorCode::invalid_file, "read " + source, "not a JSON object");
  return json;
}

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

/// Reads one object; errors name the file and where in it.
class Reader {
 public:
  Reader(const Json& object, std::string where, const std::string& source)
      : object_(object), where_(std::move(where)), source_(source) {
    if (!object.is_object()) wrong("is not an object");
  }

  /// Null where it is missing or null.
  const Json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  const Json& at(const char* key) const {
    const Json* const found = find(key);
    if (found == nullptr) wrong(fmt::format("has no '{}'", key));
    return *found;
  }
  int64_t number(const char* key, int64_t least, int64_t most) const {
    const Json& value = at(key);
    if (!value.is_number_integer() || value < least || value > most) {
      throw Error(ErrorCode::invalid_file, "read " + source_, fmt::format("{}: '{}' is {}", where_, key, value.dump()),
                  fmt::format("a whole number from {} to {}", least, most));
    }
    return value.get<int64_t>();
  }
  /// That a field, where it is there, is `wanted` or empty.
  void only(const char* key, const Json& wanted) const {
    const Json* const found = find(key);
    if (found == nullptr || *found == wanted || (found->is_structured() && found->empty())) return;
    throw Error(ErrorCode::unsupported, "read " + source_, fmt::format("{}: '{}' is {}", where_, key, found->dump()),
                wanted.is_null() ? "weights alone: null" : wanted.dump());
  }
  std::vector<std::string> texts(const char* key) const {
    std::vector<std::string> result;
    const Json* const found = find(key);
    if (found == nullptr) return result;
    if (!found->is_array()) wrong(fmt::format("'{}' is not a list", key));
    for (const Json& text : *found) {
      if (!text.is_string()) wrong(fmt::format("'{}' holds what is no string", key));
      result.push_back(text.get<std::string>());
    }
    return result;
  }
  [[noreturn]] void wrong(const std::string& what) const {
    throw Error(ErrorCode::invalid_file, "read " + source_, fmt::format("{} {}", where_, what));
  }

 private:
  const Json& object_;
  std::string where_;
  const std::string& source_;
};

PackedWeights read_weights(const Reader& reader, const std::string& where, const std::string& source) {
  reader.only("type", "int");
  reader.only("dynamic", false);
  PackedWeights weights;
  weights.bits = reader.number("num_bits", 1, 8);
  weights.symmetric = true;
  if (const Json* symmetric = reader.find("symmetric")) {
    if (!symmetric->is_boolean()) reader.wrong("'symmetric' is neither true nor false");
    weights.symmetric = symmetric->get<bool>();
  }
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
  Json json = parse_object(config_json, source);
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
  const Json json = parse_object(config_json, source);
  const auto found = json.find(kKey);
  return found != json.end() && found->is_object() && found->value("quant_method", Json()) == kMethod;
}

std::optional<CompressedTensorsConfig> get_compressed_tensors(const std::string& config_json,
                                                              const std::string& source) {
  if (!names_compressed_tensors(config_json, source)) return {};
  const Json json = parse_object(config_json, source);
  const Reader reader(json.at(kKey), kKey, source);
  if (reader.at("format") != kFormat) {
    throw Error(ErrorCode::unsupported, "read " + source,
                fmt::format("weights of compressed-tensors in the format {}", reader.at("format").dump()), kFormat);
  }
  reader.only("kv_cache_scheme", nullptr);
  reader.only("transform_config", nullptr);
  if (const Json* sparsity = reader.find("sparsity_config"); sparsity != nullptr && !sparsity->empty()) {
    Reader(*sparsity, "sparsity_config", source).only("format", "dense");
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
    const Reader group(value, where, source);
    group.only("input_activations", nullptr);
    group.only("output_activations", nullptr);
    group.only("format", kFormat);
    const Reader weights(group.at("weights"), where, source);
    config.groups.push_back({read_weights(weights, where, source), group.texts("targets")});
  }
  return config;
}

}  // namespace mxq
