// What AWQ's folders say of their weights, under "quantization_config" of config.json or in quant_config.json: as
// AutoAWQ and GPTQModel write it. Names and numbers only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mxq {

/// Weights of 4 bits, packed as AutoAWQ's "gemm".
struct AwqConfig {
  int64_t group = 128;             // 0: all columns are one ("group_size": -1)
  std::vector<std::string> plain;  // modules that are left as they are
};

/// `config_json` (an object) with its "quantization_config" replaced. Throws Error(invalid_file) for anything that is
/// no JSON object.
std::string set_awq_config(const std::string& config_json, const AwqConfig& config, const std::string& source);

/// Of a config.json; absent where its "quantization_config" is of another method, or missing. Throws Error(unsupported)
/// naming another packing or other bits, Error(invalid_file) naming the field that is missing or wrong.
std::optional<AwqConfig> get_awq_config(const std::string& config_json, const std::string& source);

/// The same of a quant_config.json, which has the fields at the top.
AwqConfig get_awq_config_alone(const std::string& quant_config_json, const std::string& source);

}  // namespace mxq
