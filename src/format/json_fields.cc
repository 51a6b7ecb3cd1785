#include "format/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "format/python_json.h"
#include "mxq/error.h"

namespace mxq {

nlohmann::ordered_json parse_json_object(const std::string& text, const std::string& source) {
  auto json = parse_python_json_in_order(text, "read " + source);
  if (!json.is_object()) throw Error(ErrorCode::invalid_file, "read " + source, "not a JSON object");
  return json;
}

JsonFields::JsonFields(const Json& object, std::string where, std::string source)
    : object_(object), where_(std::move(where)), source_(std::move(source)) {
  if (!object.is_object()) wrong("is not an object");
}

const JsonFields::Json* JsonFields::find(const char* key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

const JsonFields::Json& JsonFields::at(const char* key) const {
  const Json* const found = find(key);
  if (found == nullptr) wrong(fmt::format("has no '{}'", key));
  return *found;
}

int64_t JsonFields::number(const char* key, int64_t least, int64_t most) const {
  const Json& value = at(key);
  if (!value.is_number_integer() || value < least || value > most) {
    throw Error(ErrorCode::invalid_file, "read " + source_, fmt::format("{}: '{}' is {}", where_, key, value.dump()),
                fmt::format("a whole number from {} to {}", least, most));
  }
  return value.get<int64_t>();
}

bool JsonFields::flag(const char* key, bool missing) const {
  const Json* const found = find(key);
  if (found == nullptr) return missing;
  if (!found->is_boolean()) wrong(fmt::format("'{}' is neither true nor false", key));
  return found->get<bool>();
}

std::string JsonFields::word(const char* key, const char* missing) const {
  const Json* const found = find(key);
  if (found == nullptr) return missing;
  if (!found->is_string()) wrong(fmt::format("'{}' is no string", key));
  auto text = found->get<std::string>();
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  return text;
}

std::vector<std::string> JsonFields::texts(const char* key) const {
  std::vector<std::string> result;
  const Json* const found = find(key);
  if (found == nullptr) return result;
  if (!found->is_array()) wrong(fmt::format("'{}' is not a list", key));
  for (const Json& text : *found) {
    if (!text.is_string()) wrong(fmt::format("'{}' holds what is no string", key));
    result.push_back(text.get<std::string>());
  }
  return result;
}

void JsonFields::only(const char* key, const Json& wanted) const {
  const Json* const found = find(key);
  if (found == nullptr || *found == wanted || (found->is_structured() && found->empty())) return;
  refuse(key, wanted.is_null() ? "weights alone: null" : wanted.dump());
}

void JsonFields::refuse(const char* key, const std::string& allowed) const {
  throw Error(ErrorCode::unsupported, "read " + source_,
              fmt::format("{}: '{}' is {}", where_, key, object_.value(key, Json()).dump()), allowed);
}

void JsonFields::wrong(const std::string& what) const {
  throw Error(ErrorCode::invalid_file, "read " + source_, fmt::format("{} {}", where_, what));
}

}  // namespace mxq
