#include "harness/toml_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "mxq/error.h"

namespace mxq {

namespace {

/// Letters to insert, remove or change (Levenshtein).
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest_name(std::string_view name, const std::set<std::string, std::less<>>& names) {
  const auto nearer = [&](const std::string& a, const std::string& b) { return distance(name, a) < distance(name, b); };
  const auto found = std::min_element(names.begin(), names.end(), nearer);
  return found == names.end() ? std::string() : *found;
}

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
    throw Error(ErrorCode::usage, "read " + file_, fmt::format("line {}: no {}", line(), key), "every entry has one");
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
    throw Error(ErrorCode::usage, "read " + file_,
                fmt::format("line {}: unknown key '{}'", key.source().begin.line, key.str()),
                fmt::format("the nearest known one is '{}'", nearest_name(key.str(), known_)));
  }
}

}  // namespace mxq
