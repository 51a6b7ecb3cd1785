// Values that options and files call by name.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "mxq/error.h"

namespace mxq {

template <typename Value>
struct Named {
  std::string_view name;
  Value value;
};

/// Throws Error(usage) that lists the known names.
template <typename Value, size_t n>
Value parse_named(const Named<Value> (&known)[n], std::string_view what, std::string_view name) {
  std::string names;
  for (const auto& entry : known) {
    if (entry.name == name) return entry.value;
    names += names.empty() ? "" : ", ";
    names += entry.name;
  }
  throw Error(ErrorCode::usage, fmt::format("parse {}", what), fmt::format("'{}'", name), names);
}

template <typename Value, size_t n>
std::string_view name_of(const Named<Value> (&known)[n], Value value) {
  for (const auto& entry : known) {
    if (entry.value == value) return entry.name;
  }
  return "unknown";
}

}  // namespace mxq
