// What --json prints.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace mxq::cli {

/// Prints it in several lines. Throws Error(not_finite) naming the number that is NaN or infinite: JSON has no word for
/// either.
void print_json_output(const nlohmann::ordered_json& json);

}  // namespace mxq::cli
