// What architectures share whose layers have linear attention by the gated delta rule, but for every few.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_fields.h"
#include "model/gguf_fields.h"
#include "model/gguf_keys.h"

namespace mxq {

/// ModelConfig::linear: its extents, and its layers as layer_types say, else all but every full_attention_interval-th.
/// Throws Error(invalid_file) for heads that do not divide, and for layer_types of another number.
void read_linear_attention(const ConfigFields& fields, ModelConfig& config);
void write_linear_attention(const ModelConfig& config, nlohmann::ordered_json& json);
/// The fields of read_linear_attention(), and what their attention is like.
std::vector<ConfigField> linear_attention_fields();

/// The same of GGUF metadata, and its keys. Throws Error(invalid_file) naming the key.
void read_gguf_linear_attention(const GgufFields& fields, ModelConfig& config);
void write_gguf_linear_attention(const ModelConfig& config, GgufKeys& keys);
std::vector<ConfigField> gguf_linear_attention_fields();

/// What they all have; the rest is for each to say.
Architecture linear_attention_family();

/// Attention whose queries have gates, with norms of heads.
std::vector<LayerTensor> gated_attention_tensors();
/// Linear attention behind its projections, `projections` of which come first.
std::vector<LayerTensor> delta_rule_tensors(const std::vector<LayerTensor>& projections);

}  // namespace mxq
