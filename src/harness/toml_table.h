// TOML tables whose keys are known beforehand: what is not asked for is an error.
#pragma once

#include <toml++/toml.h>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// Every getter throws Error(usage) naming key and line where the value is of another type.
class TomlTable {
 public:
  /// The table must outlive it. `file` is named in errors.
  TomlTable(const toml::table& table, std::string file) : table_(table), file_(std::move(file)) {}

  std::optional<std::string> text(std::string_view key);
  /// Throws also where there is none.
  std::string required_text(std::string_view key);
  std::optional<bool> flag(std::string_view key);
  /// A string or number, or an array of them, each as text. Empty where there is none.
  std::vector<std::string> texts(std::string_view key);
  /// A string or number as text.
  std::optional<std::string> scalar(std::string_view key);
  /// [[key]].
  std::vector<TomlTable> tables(std::string_view key);
  /// [key].
  std::optional<TomlTable> table(std::string_view key);

  /// Throws for the first key that nobody asked for, with the nearest that somebody did.
  void refuse_other_keys() const;

  /// Error(usage) about a key's value.
  [[noreturn]] void fail(std::string_view key, const std::string& given, const std::string& supported) const;
  int line() const { return static_cast<int>(table_.source().begin.line); }

 private:
  const toml::node* find(std::string_view key);
  std::string element(std::string_view key, const toml::node& node) const;

  const toml::table& table_;
  std::string file_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace mxq
