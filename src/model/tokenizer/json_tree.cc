#include "model/tokenizer/json_tree.h"

#include <cstdlib>
#include <utility>

namespace mxq {

void JsonTreeBuilder::add(JsonPath path, const JsonEvent& event) {
  switch (event.kind) {
    case JsonEvent::null:
      return put(path, nullptr);
    case JsonEvent::boolean:
      return put(path, event.natural_value != 0);
    case JsonEvent::natural:
      return put(path, event.natural_value);
    case JsonEvent::number:
      return put(path, std::strtod(std::string(event.text).c_str(), nullptr));
    case JsonEvent::string:
      return put(path, std::string(event.text));
    case JsonEvent::object_begin:
      open_.push_back(JsonTree::object());
      return;
    case JsonEvent::array_begin:
      open_.push_back(JsonTree::array());
      return;
    case JsonEvent::object_end:
    case JsonEvent::array_end:
      JsonTree closed = std::move(open_.back());
      open_.pop_back();
      return put(path, std::move(closed));
  }
}

void JsonTreeBuilder::put(JsonPath path, JsonTree value) {
  if (open_.empty()) {
    root_ = std::move(value);
  } else if (open_.back().is_array()) {
    open_.back().push_back(std::move(value));
  } else {
    // walk_json() lets no key come twice; by operator[], each key would be looked for among all before it.
    open_.back().get_ref<JsonTree::object_t&>().Container::emplace_back(path.back(), std::move(value));
  }
}

JsonTree parse_json_tree(std::string_view text, const std::string& operation) {
  JsonTreeBuilder builder;
  walk_json(text, operation, [&](JsonPath path, const JsonEvent& event) { builder.add(path, event); });
  return builder.take();
}

const JsonTree* find_value(const JsonTree& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(std::string(key));
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace mxq
