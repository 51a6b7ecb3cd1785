// What Qwen3.5's text models share, with experts and without.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "model/arch/linear_attention_fields.h"

namespace mxq {

/// Linear attention, its projections apart.
std::vector<LayerTensor> qwen3_5_linear_tensors();

/// read_linear_attention(), and how many layers foretell more than one token.
void read_qwen3_5(const ConfigFields& fields, ModelConfig& config);
void write_qwen3_5(const ModelConfig& config, nlohmann::ordered_json& json);
std::vector<ConfigField> qwen3_5_fields();
/// Keys of linear attention, and which pairs turn by images' rows and columns.
void write_gguf_qwen3_5(const ModelConfig& config, GgufKeys& keys);
std::vector<ConfigField> gguf_qwen3_5_fields();

}  // namespace mxq
