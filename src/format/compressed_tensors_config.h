// The "quantization_config" of a config.json as compressed-tensors writes it, of weights in the format pack-quantized:
// integers of some bits, packed. Names and numbers only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mxq {

struct PackedWeights {
  int64_t bits = 4;
  int64_t group = 128;  // 0: a scale for each row ("channel")
  bool symmetric = true;

  friend bool operator==(const PackedWeights&, const PackedWeights&) = default;
};

struct CompressedTensorsConfig {
  struct Group {
    PackedWeights weights;
    std::vector<std::string> targets;  // modules by name; of others' files also classes and "re:" patterns
  };

  std::vector<Group> groups;
  std::vector<std::string> ignore;  // modules that are left as they are
};

/// `config_json` (an object) with its "quantization_config" replaced, or removed where `config` is absent. Throws
/// Error(invalid_file) for anything that is no JSON object.
std::string set_compressed_tensors(const std::string& config_json, const std::optional<CompressedTensorsConfig>& config,
                                   const std::string& source);

/// Whether the config names compressed-tensors at all. Throws Error(invalid_file) for anything that is no JSON object.
bool names_compressed_tensors(const std::string& config_json, const std::string& source);

/// Absent where it does not. Throws Error(unsupported) naming what is not weights
/// alone as packed integers: another format, quantized activations or caches, sparse or transformed weights;
/// Error(invalid_file) naming the field that is missing or wrong.
std::optional<CompressedTensorsConfig> get_compressed_tensors(const std::string& config_json,
                                                              const std::string& source);

}  // namespace mxq
