// A small JSON document as a tree, built from the events of walk_json().
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "format/strict_json.h"

namespace mxq {

/// Keeps the order of an object's keys.
using JsonTree = nlohmann::ordered_json;

class JsonTreeBuilder {
 public:
  /// The next event; those of whole subtrees may be left out.
  void add(JsonPath path, const JsonEvent& event);
  /// What the events made.
  JsonTree take() { return std::move(root_); }

 private:
  void put(JsonPath path, JsonTree value);

  JsonTree root_;
  std::vector<JsonTree> open_;  // objects and arrays that have not ended
};

/// Throws what walk_json() throws.
JsonTree parse_json_tree(std::string_view text, const std::string& operation);

/// The value of a key; nullptr where there is none, where it is null, and where `object` is no object.
const JsonTree* find_value(const JsonTree& object, std::string_view key);

}  // namespace mxq
