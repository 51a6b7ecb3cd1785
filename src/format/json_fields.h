// Fields of JSON objects that are checked as they are read: errors name the file and where in it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mxq {

/// Throws Error(invalid_file) for anything that is no JSON object.
nlohmann::ordered_json parse_json_object(const std::string& text, const std::string& source);

/// One object, which must outlive it. All throw Error(invalid_file) naming the field that is missing or wrong, unless
/// they say otherwise.
class JsonFields {
 public:
  using Json = nlohmann::ordered_json;

  /// `where`: the object's place in the file, in words.
  JsonFields(const Json& object, std::string where, std::string source);

  /// Null where it is missing or null.
  const Json* find(const char* key) const;
  const Json& at(const char* key) const;
  int64_t number(const char* key, int64_t least, int64_t most) const;
  /// Where it is missing or null: `missing`.
  bool flag(const char* key, bool missing) const;
  /// The same; in lower case.
  std::string word(const char* key, const char* missing) const;
  /// Empty where it is missing or null.
  std::vector<std::string> texts(const char* key) const;
  /// Throws Error(unsupported) where a field is there and neither `wanted` nor empty.
  void only(const char* key, const Json& wanted) const;
  /// The same, with what is allowed in words.
  [[noreturn]] void refuse(const char* key, const std::string& allowed) const;
  [[noreturn]] void wrong(const std::string& what) const;

 private:
  const Json& object_;
  std::string where_, source_;
};

}  // namespace mxq
