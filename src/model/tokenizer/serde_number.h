// Numbers as the package tokenizers reads them from JSON.
#pragma once

#include <optional>
#include <string_view>

namespace mxq {

/// The double that Rust's serde_json makes of a JSON number by its quick way (without the feature float_roundtrip): as
/// many digits as fit 64 bits, multiplied or divided by a power of ten. Of one number in eight with 17 digits that is
/// the neighbour of the nearest double. nullopt: beyond all doubles.
std::optional<double> serde_number(std::string_view json);

}  // namespace mxq
