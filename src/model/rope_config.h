// Rotary embedding in a config.json: "rope_scaling" of transformers 4, "rope_parameters" of transformers 5.
#pragma once

#include <nlohmann/json.hpp>

#include "model/config.h"
#include "model/config_fields.h"

namespace mxq {

/// Into config.rope; heads, positions and rotary_part are there already. What cannot be run is added to
/// config.unsupported, keys that nobody knows to config.unknown_fields. Throws Error(invalid_file) as ConfigFields
/// does.
void read_rope(const ConfigFields& fields, const Architecture& architecture, ModelConfig& config);

/// Of layers with a window, under Architecture::window_rope_field or, in transformers 5, in rope_parameters; `usual`
/// where neither says it.
RopeSettings read_window_rope(const ConfigFields& fields, const Architecture& architecture, double usual,
                              ModelConfig& config);

/// The fields that transformers 4 reads.
void write_rope(const ModelConfig& config, const Architecture& architecture, nlohmann::ordered_json& json);

}  // namespace mxq
