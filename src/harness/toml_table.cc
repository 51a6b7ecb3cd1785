#include "harness/toml_table.h"

#include <fmt/format.h>

#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

const toml::node* TomlTable::find(std::string_view key) {
  known_.emplace(key);
  return table_.get(key);
}

void TomlTable::fail(std::string_view key, const std::string& given, const std::string& supported) const {
  const toml::node* node = table_.get(key);
  const auto at = node != nullptr ? static_cast<int>(node->source().begin.line) : line();
  throw Error(ErrorCode::usage, "read " + file_, fmt::format("line {}: {} = {}", at, key, given), supported);
}

std::string TomlTable::element(std::string_view key, const toml::node& node) const {
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto integer = node.value_exact<int64_t>()) return fmt::format("{}", *integer);
  if (const auto number = node.value_exact<double>()) return fmt::format("{}", *number);
  fail(key, "neither text nor number", "text or numbers");
}

std::optional<std::string> TomlTable::text(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  const auto text = node->value_exact<std::string>();
  if (!text) fail(key, "no text", "text in quotes");
  return text;
}

std::string TomlTable::required_text(std::string_view key) {
  auto found = text(key);
  if (!found || found->empty()) {
    throw Error(ErrorCode::usage, "read " + file_, fmt::format("line {}: no {}", line(), key), "one in every entry");
  }
  return *found;
}

std::optional<bool> TomlTable::flag(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  const auto flag = node->value_exact<bool>();
  if (!flag) fail(key, "neither of them", "true or false");
  return flag;
}

std::optional<std::string> TomlTable::scalar(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  return element(key, *node);
}

std::vector<std::string> TomlTable::texts(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return {};
  const toml::array* array = node->as_array();
  if (array == nullptr) return {element(key, *node)};
  std::vector<std::string> all;
  for (const toml::node& item : *array) all.push_back(element(key, item));
  return all;
}

std::vector<TomlTable> TomlTable::tables(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return {};
  const toml::array* array = node->as_array();
  if (array == nullptr) fail(key, "no list of tables", fmt::format("[[{}]]", key));
  std::vector<TomlTable> all;
  for (const toml::node& item : *array) {
    const toml::table* table = item.as_table();
    if (table == nullptr) fail(key, "no list of tables", fmt::format("[[{}]]", key));
    all.emplace_back(*table, file_);
  }
  return all;
}

std::optional<TomlTable> TomlTable::table(std::string_view key) {
  const toml::node* node = find(key);
  if (node == nullptr) return std::nullopt;
  const toml::table* table = node->as_table();
  if (table == nullptr) fail(key, "no table", fmt::format("[{}]", key));
  return TomlTable(*table, file_);
}

void TomlTable::refuse_other_keys() const {
  for (const auto& [key, node] : table_) {
    if (known_.contains(key.str())) continue;
    const auto nearest = nearest_name(key.str(), {known_.begin(), known_.end()});
    throw Error(ErrorCode::usage, "read " + file_,
                fmt::format("line {}: unknown key '{}'", key.source().begin.line, key.str()),
                nearest ? fmt::format("'{}', the nearest that is known", *nearest) : "none here");
  }
}

}  // namespace mxq
