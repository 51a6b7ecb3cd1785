// JSON as Python's json module writes it: RFC 8259 and the bare literals NaN, Infinity and -Infinity. Of a key that an
// object has twice the last one counts, as there.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mxq {

/// Throws Error(invalid_file), headed by `operation`, naming the place. The three literals become strings that no JSON
/// text of people's holds; they are no numbers for whoever asks, and print_python_json() writes them as they were.
nlohmann::json parse_python_json(std::string_view text, const std::string& operation);
nlohmann::ordered_json parse_python_json_in_order(std::string_view text, const std::string& operation);

/// dump(), with the literals as they were.
std::string print_python_json(const nlohmann::json& json, int indent = -1, bool ascii = false);
std::string print_python_json(const nlohmann::ordered_json& json, int indent = -1, bool ascii = false);

}  // namespace mxq
