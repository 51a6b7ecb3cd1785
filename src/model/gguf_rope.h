// Rotary embedding in GGUF metadata.
#pragma once

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/gguf_fields.h"

namespace mxq {

/// Into config.rope and config.rotary_part; heads and positions are there already. What no config.json of the
/// architecture can express is added to config.unsupported. Throws Error(unsupported) for types of scaling that are not
/// known and tables that are not theirs, Error(invalid_file) as GgufFields does.
void read_gguf_rope(const GgufFields& fields, const Architecture& architecture, ModelConfig& config);

}  // namespace mxq
