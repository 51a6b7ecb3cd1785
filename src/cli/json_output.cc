#include "cli/json_output.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "mxq/error.h"

namespace mxq::cli {

namespace {

void require_numbers(const nlohmann::ordered_json& json, const std::string& name) {
  if (json.is_number_float() && !std::isfinite(json.get<double>())) {
    throw Error(ErrorCode::not_finite, "print JSON", fmt::format("'{}' is {}", name, json.get<double>()),
                "finite numbers");
  }
  if (!json.is_structured()) return;
  for (const auto& [key, value] : json.items()) require_numbers(value, name.empty() ? key : name + "." + key);
}

}  // namespace

void print_json_output(const nlohmann::ordered_json& json) {
  require_numbers(json, "");
  // Texts may end within a character.
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace mxq::cli
