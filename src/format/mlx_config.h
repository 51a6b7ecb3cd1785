// The "quantization" of a config.json as MLX writes it: how each module is quantized. Names and numbers only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace mxq {

struct MlxQuantization {
  struct Scheme {
    int64_t bits = 4, group = 64;
    std::string mode = "affine";
  };

  /// Of modules that are quantized and not named below.
  Scheme usual;
  /// By the weight's name without ".weight"; nullopt: left as it is.
  std::map<std::string, std::optional<Scheme>> modules;
};

/// `config_json` (an object) with its "quantization", and the "quantization_config" that MLX writes beside it,
/// replaced, or both removed where `quantization` is absent. Throws Error(invalid_file) for anything that is no JSON
/// object.
std::string set_mlx_quantization(const std::string& config_json, const std::optional<MlxQuantization>& quantization,
                                 const std::string& source);

/// Absent where the config says nothing of the kind. Throws Error(invalid_file) naming the field that is missing or
/// wrong.
std::optional<MlxQuantization> get_mlx_quantization(const std::string& config_json, const std::string& source);

/// `config_json` with the fields of `more`, another object, that it lacks.
std::string add_missing_fields(const std::string& config_json, const std::string& more, const std::string& source);

}  // namespace mxq
