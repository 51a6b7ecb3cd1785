// The fields of an object in a config.json, checked as they are read.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace mxq {

/// A value as one short line, for messages.
std::string shown(const nlohmann::json& value);

/// null counts as missing unless said otherwise. A value of another type or out of bounds is refused with
/// Error(invalid_file) that names field and value.
class ConfigFields {
 public:
  /// `object` must outlive it; `source` names the file in errors.
  ConfigFields(const nlohmann::json& object, std::string source) : object_(&object), source_(std::move(source)) {}

  const nlohmann::json* find(const std::string& name) const;
  /// Also of null.
  bool contains(const std::string& name) const { return object_->contains(name); }

  std::optional<int64_t> find_int(const std::string& name, int64_t low, int64_t high) const;
  /// Throws Error(invalid_file) where it is missing too.
  int64_t get_int(const std::string& name, int64_t low, int64_t high) const;
  /// Finite and above 0.
  std::optional<double> find_positive(const std::string& name) const;
  /// A list of such numbers; empty where it is missing.
  std::vector<double> find_positives(const std::string& name) const;
  bool get_bool(const std::string& name, bool otherwise) const;
  std::optional<std::string> find_string(const std::string& name) const;
  std::optional<ConfigFields> find_object(const std::string& name) const;

  const std::string& source() const { return source_; }
  const nlohmann::json& object() const { return *object_; }

 private:
  [[noreturn]] void refuse(const std::string& name, const nlohmann::json& value, std::string supported) const;

  const nlohmann::json* object_;
  std::string source_;
};

}  // namespace mxq
