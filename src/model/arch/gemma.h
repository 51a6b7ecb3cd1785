// What the architectures of the Gemma family share.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_fields.h"

namespace mxq {

/// Norms before and behind attention and the feed-forward network.
std::vector<LayerTensor> gemma_tensors();

/// The embedding's scale and query_pre_attn_scalar.
void read_gemma(const ConfigFields& fields, ModelConfig& config);
void write_gemma(const ModelConfig& config, nlohmann::ordered_json& json);

}  // namespace mxq
