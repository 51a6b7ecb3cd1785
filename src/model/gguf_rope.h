// Rotary embedding in GGUF metadata.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/gguf_fields.h"
#include "model/gguf_keys.h"

namespace mxq {

/// Into config.rope and config.rotary_part; heads and positions are there already. What no config.json of the
/// architecture can express is added to config.unsupported. Throws Error(unsupported) for types of scaling that are not
/// known and tables that are not theirs, Error(invalid_file) as GgufFields does.
void read_gguf_rope(const GgufFields& fields, const Architecture& architecture, ModelConfig& config);

/// The other way round, as far as keys can say it: what is lost (types that GGUF does not have) shows when they are
/// read again.
void write_gguf_rope(const ModelConfig& config, GgufKeys& keys);
/// What lies in tensors instead: names and numbers. Of llama3 the divisors, of longrope both lists.
std::vector<std::pair<std::string, std::vector<double>>> gguf_rope_tables(const ModelConfig& config);

}  // namespace mxq
