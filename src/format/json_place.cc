#include "format/json_place.h"

#include <fmt/format.h>

#include <algorithm>

namespace mxq {

std::string json_place(std::string_view text, size_t byte) {
  const std::string_view before = text.substr(0, std::min(byte, text.size()));
  const auto lines = std::count(before.begin(), before.end(), '\n');
  const size_t start = before.rfind('\n');
  const size_t column = before.size() - (start == before.npos ? 0 : start + 1);
  return fmt::format("byte {} (line {}, column {})", byte, lines + 1, column + 1);
}

Error no_json(const std::string& operation, std::string_view text, size_t read) {
  return Error(ErrorCode::invalid_file, operation,
               "not valid JSON (UTF-8) at " + json_place(text, read > 0 ? read - 1 : 0));
}

}  // namespace mxq
