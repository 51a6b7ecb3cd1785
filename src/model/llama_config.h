// A config.json for tests to change.
#pragma once

#include <nlohmann/json.hpp>

#include "model/config.h"

namespace mxq {

/// Llama-3.2-1B's published config.json, in the fields that matter.
inline nlohmann::json llama() {
  return nlohmann::json::parse(R"({"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": true,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "attention_bias": false, "mlp_bias": false})");
}

inline ModelConfig parse(const nlohmann::json& json) {
  return parse_hf_config(json.dump(), "config.json");
}

}  // namespace mxq
