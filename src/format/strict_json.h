// JSON from untrusted files, walked as events: no tree is built, so memory stays in proportion to what the caller
// keeps.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace mxq {

struct JsonEvent {
  enum Kind {
    null,
    boolean,  // `natural_value` is 1 or 0
    natural,  // an integer >= 0 without a sign that fits 64 bits: `natural_value`
    number,   // any other number
    string,   // `text`
    object_begin,
    object_end,
    array_begin,
    array_end,
  };
  Kind kind = null;
  uint64_t natural_value = 0;
  std::string_view text = {};  // of strings and other numbers; valid during the call only
};

/// Where the event's value stands: the keys from the root down, an array's elements under the empty key.
using JsonPath = std::span<const std::string>;

/// Calls `handle` for each value of the one JSON document that `text` must be. `operation` heads the errors.
/// Throws Error(invalid_file) for anything that is not JSON by RFC 8259 (invalid UTF-8 and NUL bytes included), a key
/// that an object has twice, and nesting deeper than 16.
void walk_json(std::string_view text, const std::string& operation,
               const std::function<void(JsonPath, const JsonEvent&)>& handle);

}  // namespace mxq
