#include "format/hf_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "format/python_json.h"
#include "mxq/error.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kKey = "quantization_config";
constexpr const char* kMethod = "mxq";
constexpr int64_t kVersion = 2;  // with rotated matrices; without, a reader of version 1 does
constexpr int64_t kMaxExtent = int64_t{1} << 31;
constexpr int64_t kMaxElements = int64_t{1} << 50;  // so that bits and bytes of a matrix fit 63 bits

Json parse_object(const std::string& text, const std::string& source) {
  Json json = parse_python_json_in_order(text, "read " + source);
  if (!json.is_object()) throw Error(ErrorCode::invalid_file, "read " + source, "not a JSON object");
  return json;
}

std::string print(const Json& config) {
  return print_python_json(config, 2) + "\n";
}

template <typename T>
T field(const Json& object, const char* key, const std::string& where, const std::string& source) {
  const auto found = object.find(key);
  const auto fail = [&](const std::string& given) {
    throw Error(ErrorCode::invalid_file, "read " + source, fmt::format("{}: '{}' {}", where, key, given));
  };
  if (found == object.end()) fail("is missing");
  bool right = false;
  if constexpr (std::is_same_v<T, std::string>) {
    right = found->is_string();
  } else if constexpr (std::is_same_v<T, bool>) {
    right = found->is_boolean();
  } else {
    right = found->is_number_integer();
  }
  if (!right) fail("is " + found->dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 60));
  return found->get<T>();
}

int axis_field(const Json& object, const std::string& where, const std::string& source) {
  const auto axis = field<int64_t>(object, "axis", where, source);
  if (axis != 0 && axis != 1) {
    throw Error(ErrorCode::invalid_file, "read " + source, fmt::format("{}: axis {}", where, axis), "0 or 1");
  }
  return static_cast<int>(axis);
}

}  // namespace

std::string set_quantization_config(const std::string& config_json,
                                    const std::optional<QuantizationConfig>& quantization, const std::string& source) {
  Json config = parse_object(config_json, source);
  config.erase(kKey);
  if (quantization) {
    Json matrices = Json::object();
    int64_t version = 1;
    for (const auto& matrix : quantization->matrices) {
      Json entry{{"scheme", matrix.scheme}, {"rows", matrix.rows}, {"cols", matrix.cols}};
      if (matrix.column_scales) entry["column_scales"] = true;
      if (matrix.rotated) {
        entry["rotated"] = true;
        version = kVersion;
      }
      if (matrix.axis) entry["axis"] = *matrix.axis;
      if (matrix.metadata) entry["metadata"] = *matrix.metadata;
      if (matrix.dtype) entry["dtype"] = *matrix.dtype;
      matrices[matrix.name] = std::move(entry);
    }
    config[kKey] = {{"quant_method", kMethod},
                    {"version", version},
                    {"fit", quantization->fit},
                    {"axis", quantization->axis},
                    {"metadata", quantization->metadata}};
    if (!quantization->dtype.empty()) config[kKey]["dtype"] = quantization->dtype;
    config[kKey]["matrices"] = std::move(matrices);
    for (const auto& [copy, original] : quantization->copies) config[kKey]["copies"][copy] = original;
  }
  return print(config);
}

std::string set_torch_dtype(const std::string& config_json, const std::string& dtype, const std::string& source) {
  Json config = parse_object(config_json, source);
  config["torch_dtype"] = dtype;
  if (config.contains("dtype")) config["dtype"] = dtype;
  for (auto& [name, part] : config.items()) {
    if (!part.is_object() || name == kKey) continue;
    for (const char* key : {"torch_dtype", "dtype"}) {
      if (part.contains(key) && part[key].is_string()) part[key] = dtype;
    }
  }
  return print(config);
}

std::string get_torch_dtype(const std::string& config_json, const std::string& source) {
  const Json config = parse_object(config_json, source);
  for (const char* key : {"torch_dtype", "dtype"}) {
    if (const auto found = config.find(key); found != config.end() && found->is_string())
      return found->get<std::string>();
  }
  return {};
}

std::optional<QuantizationConfig> get_quantization_config(const std::string& config_json, const std::string& source) {
  const Json config = parse_object(config_json, source);
  const auto found = config.find(kKey);
  if (found == config.end() || !found->is_object() || found->value("quant_method", Json()) != kMethod) return {};
  const auto version = field<int64_t>(*found, "version", kKey, source);
  if (version < 1 || version > kVersion) {
    throw Error(ErrorCode::unsupported, "read " + source, fmt::format("version {} of the mxq checkpoint", version),
                fmt::format("versions 1 to {}", kVersion));
  }
  QuantizationConfig quantization;
  quantization.fit = field<std::string>(*found, "fit", kKey, source);
  quantization.metadata = field<std::string>(*found, "metadata", kKey, source);
  quantization.axis = axis_field(*found, kKey, source);
  if (found->contains("dtype")) quantization.dtype = field<std::string>(*found, "dtype", kKey, source);
  if (const auto copies = found->find("copies"); copies != found->end()) {
    if (!copies->is_object()) {
      throw Error(ErrorCode::invalid_file, "read " + source, fmt::format("{}: 'copies' is not an object", kKey));
    }
    for (const auto& entry : copies->items()) {
      const std::string& name = entry.key();
      quantization.copies.emplace_back(name, field<std::string>(*copies, name.c_str(), kKey, source));
    }
  }
  const auto matrices = found->find("matrices");
  if (matrices == found->end() || !matrices->is_object()) {
    throw Error(ErrorCode::invalid_file, "read " + source, fmt::format("{}: 'matrices' is not an object", kKey));
  }
  for (const auto& [name, entry] : matrices->items()) {
    if (!entry.is_object()) {
      throw Error(ErrorCode::invalid_file, "read " + source, fmt::format("{}: '{}' is not an object", kKey, name));
    }
    QuantizationConfig::Matrix matrix;
    matrix.name = name;
    matrix.scheme = field<std::string>(entry, "scheme", name, source);
    matrix.rows = field<int64_t>(entry, "rows", name, source);
    matrix.cols = field<int64_t>(entry, "cols", name, source);
    if (entry.contains("column_scales")) matrix.column_scales = field<bool>(entry, "column_scales", name, source);
    if (entry.contains("rotated")) matrix.rotated = field<bool>(entry, "rotated", name, source);
    if (entry.contains("axis")) matrix.axis = axis_field(entry, name, source);
    if (entry.contains("metadata")) matrix.metadata = field<std::string>(entry, "metadata", name, source);
    if (entry.contains("dtype")) matrix.dtype = field<std::string>(entry, "dtype", name, source);
    if (matrix.rows < 0 || matrix.cols < 0 || matrix.rows > kMaxExtent || matrix.cols > kMaxExtent ||
        matrix.rows * matrix.cols > kMaxElements) {
      throw Error(ErrorCode::invalid_file, "read " + source, fmt::format("{}: {} x {}", name, matrix.rows, matrix.cols),
                  "extents from 0 to 2^31, at most 2^50 weights");
    }
    quantization.matrices.push_back(std::move(matrix));
  }
  return quantization;
}

}  // namespace mxq
