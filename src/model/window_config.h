// Which layers see a window of tokens only, in a config.json.
#pragma once

#include <nlohmann/json.hpp>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_fields.h"

namespace mxq {

/// By the architecture's rule, as transformers 4.57's configuration classes make it out. What cannot be run is added to
/// config.unsupported. Layers and rope_layers are there already.
void read_window(const ConfigFields& fields, const Architecture& architecture, ModelConfig& config);

/// By WindowRule::pattern: all but every `every`-th layer.
std::vector<bool> window_pattern(const ModelConfig& config, int64_t every);

/// Into rope_layers, where layers without a window do not rotate; the windows are there already.
void rotate_in_windows(const Architecture& architecture, ModelConfig& config);

void write_window(const ModelConfig& config, const Architecture& architecture, nlohmann::ordered_json& json);

}  // namespace mxq
