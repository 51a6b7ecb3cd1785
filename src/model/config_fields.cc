#include "model/config_fields.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "format/python_json.h"
#include "model/config_checks.h"

namespace mxq {

using Json = nlohmann::json;

namespace {

bool is_positive(const Json& value) {
  return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() > 0;
}

}  // namespace

std::string shown(const Json& value) {
  std::string text = print_python_json(value, -1, true);
  if (text.size() > 60) text = text.substr(0, 60) + "...";
  return text;
}

void ConfigFields::refuse(const std::string& name, const Json& value, std::string supported) const {
  refuse_config(source_, fmt::format("'{}' is {}", name, shown(value)), std::move(supported));
}

const Json* ConfigFields::find(const std::string& name) const {
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::optional<int64_t> ConfigFields::find_int(const std::string& name, int64_t low, int64_t high) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  const bool inside = value->is_number_unsigned() ? value->get<uint64_t>() <= static_cast<uint64_t>(high)
                                                  : value->is_number_integer() && value->get<int64_t>() <= high;
  if (!inside || value->get<int64_t>() < low) {
    refuse(name, *value, fmt::format("an integer from {} to {}", low, high));
  }
  return value->get<int64_t>();
}

int64_t ConfigFields::get_int(const std::string& name, int64_t low, int64_t high) const {
  const auto value = find_int(name, low, high);
  if (!value) refuse_config(source_, fmt::format("'{}' is missing", name));
  return *value;
}

std::optional<double> ConfigFields::find_positive(const std::string& name) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  if (!is_positive(*value)) refuse(name, *value, "a number above 0");
  return value->get<double>();
}

std::vector<double> ConfigFields::find_positives(const std::string& name) const {
  const Json* value = find(name);
  if (!value) return {};
  if (!value->is_array()) refuse(name, *value, "a list of numbers above 0");
  std::vector<double> numbers;
  for (const Json& number : *value) {
    if (!is_positive(number)) refuse(name, *value, "a list of numbers above 0");
    numbers.push_back(number.get<double>());
  }
  return numbers;
}

bool ConfigFields::get_bool(const std::string& name, bool otherwise) const {
  const Json* value = find(name);
  if (!value) return otherwise;
  if (!value->is_boolean()) refuse(name, *value, "true or false");
  return value->get<bool>();
}

std::optional<std::string> ConfigFields::find_string(const std::string& name) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_string()) refuse(name, *value, "a string");
  return value->get<std::string>();
}

std::optional<ConfigFields> ConfigFields::find_object(const std::string& name) const {
  const Json* value = find(name);
  if (!value) return std::nullopt;
  if (!value->is_object()) refuse(name, *value, "an object");
  return ConfigFields(*value, source_);
}

}  // namespace mxq
