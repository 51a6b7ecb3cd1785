// Edits of a Hugging Face config.json, among them the "quantization_config" of an mxq checkpoint: which matrices are
// quantized, and how. Names and numbers only; schemes/stored_matrix.h knows what they mean.
// docs/reference/checkpoint.md has the whole format.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mxq {

struct QuantizationConfig {
  struct Matrix {
    std::string name;    // of the weight without ".weight"
    std::string scheme;  // "b4g64"
    int64_t rows = 0, cols = 0;
    bool column_scales = false;
    bool rotated = false;
    std::optional<int> axis;  // these three where they differ from the config's
    std::optional<std::string> metadata;
    std::optional<std::string> dtype;
  };

  std::string fit;  // for the record; not needed to read the checkpoint
  int axis = 1;
  std::string metadata;
  std::string
      dtype;  // safetensors' name of the dtype that the weights had ("BF16"); empty in checkpoints that say none
  std::vector<Matrix> matrices;
  /// Names of tensors that the files do not hold, and the names of those whose values they have.
  std::vector<std::pair<std::string, std::string>> copies;
};

/// `config_json` (an object) with its quantization_config replaced, or removed where `quantization` is absent.
/// Throws Error(invalid_file) for anything that is not a JSON object.
std::string set_quantization_config(const std::string& config_json,
                                    const std::optional<QuantizationConfig>& quantization, const std::string& source);

/// `config_json` with the dtype of its weights replaced ("float16"), under both names that transformers knows, also in
/// the parts of a model ("text_config") that say one.
std::string set_torch_dtype(const std::string& config_json, const std::string& dtype, const std::string& source);

/// torch_dtype, or dtype, of `config_json` ("bfloat16"); empty where it says none.
std::string get_torch_dtype(const std::string& config_json, const std::string& source);

/// Absent where the config has none, or one of another quant_method. Throws Error(invalid_file) naming the field that
/// is missing or wrong, Error(unsupported) for a newer version of the format.
std::optional<QuantizationConfig> get_quantization_config(const std::string& config_json, const std::string& source);

}  // namespace mxq
