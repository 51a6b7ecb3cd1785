// What GPTQ's folders say of their weights, under "quantization_config" of config.json and in quantize_config.json: as
// AutoGPTQ and GPTQModel write it. Names and numbers only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mxq {

struct GptqScheme {
  int64_t bits = 4;
  int64_t group = 128;  // 0: all columns are one ("group_size": -1)
  bool symmetric = true;

  friend bool operator==(const GptqScheme&, const GptqScheme&) = default;
};

/// As a target writes it.
struct GptqConfig {
  /// Modules that are one in runtimes which fuse them: `leaves` of the same block, the fused one's name among them.
  struct Rule {
    std::string block;  // "model.layers.0.self_attn"
    std::vector<std::string> leaves;
    std::optional<GptqScheme> scheme;  // nullopt: left as they are
  };

  GptqScheme usual;
  bool version_2 = false;  // zeros as they are; of version 1 one less
  std::vector<Rule> rules;
  /// All modules that are quantized, where others are not: transformers takes no notice of rules.
  std::vector<std::string> only;
};

/// As others' files have it: which module is meant is left to the shapes of its tensors.
struct GptqPacking {
  std::vector<GptqScheme> schemes;  // each once, the usual one first
  bool less_one = true;             // zeros are stored less one
  bool carries = false;             // and where that was below 0, it was borrowed from the next ones in the word
  bool by_activations = false;      // "desc_act": columns may be in groups of any order
};

/// The file quantize_config.json.
std::string print_gptq_config(const GptqConfig& config);

/// `config_json` (an object) with its "quantization_config" replaced. Throws Error(invalid_file) for anything that is
/// no JSON object.
std::string set_gptq_config(const std::string& config_json, const GptqConfig& config, const std::string& source);

/// Of a config.json; absent where its "quantization_config" is of another method, or missing. Throws Error(unsupported)
/// naming what is not read: another packing, other bits, rotated weights, adapters; Error(invalid_file) naming the
/// field that is missing or wrong.
std::optional<GptqPacking> get_gptq_packing(const std::string& config_json, const std::string& source);

/// The same of a quantize_config.json, which has the fields at the top; absent where it names another method.
std::optional<GptqPacking> get_gptq_packing_alone(const std::string& quantize_config_json, const std::string& source);

}  // namespace mxq
