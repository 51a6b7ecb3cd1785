// What the architectures of the Gemma family share.
#pragma once

#include <nlohmann/json.hpp>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_fields.h"
#include "model/gguf_fields.h"
#include "model/gguf_keys.h"

namespace mxq {

/// Norms before and behind attention and the feed-forward network, which multiply by 1 + w; windows by a pattern. The
/// name, the window's pattern, read_config and write_config are left to fill in.
Architecture gemma_family();

/// The embedding's scale and query_pre_attn_scalar.
void read_gemma(const ConfigFields& fields, ModelConfig& config);
void write_gemma(const ModelConfig& config, nlohmann::ordered_json& json);

/// The same of a GGUF, which says nothing of query_pre_attn_scalar. llama.cpp takes hidden_size / heads for models of
/// as many layers as the family's one of 27B has, head_dim for all others; so did Google.
void read_gemma_gguf(int64_t layers_of_27b, ModelConfig& config);

}  // namespace mxq
