// Text files: plain, rows of JSON, standard input.
#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <utility>

#include "format/strict_json.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {

namespace {

/// The "text" of one row.
std::string row_text(std::string_view row, const std::string& operation) {
  std::optional<std::string> text;
  walk_json(row, operation, [&](JsonPath path, const JsonEvent& event) {
    if (path.size() == 1 && path[0] == "text" && event.kind == JsonEvent::string) text = event.text;
  });
  if (!text) throw Error(ErrorCode::invalid_file, operation, "no string \"text\"", "{\"text\": \"...\"} in every line");
  return std::move(*text);
}

/// The text without the byte order mark that some editors write.
std::string without_mark(std::string text) {
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  return text;
}

bool is_jsonl(const std::filesystem::path& path) {
  std::string ending = path.extension().string();
  for (char& c : ending) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return ending == ".jsonl";
}

/// A pipe, such as the shell's <(command), cannot be mapped as read_file does.
std::string read_stream(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad()) throw Error(ErrorCode::io, "read " + path.string(), "failed");
  return text;
}

}  // namespace

std::string join_json_rows(std::string_view rows, const std::string& source) {
  std::string all;
  bool first = true;
  for (size_t line = 1; !rows.empty(); ++line) {
    const std::string_view row = rows.substr(0, rows.find('\n'));
    rows.remove_prefix(std::min(rows.size(), row.size() + 1));
    if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (!first) all += "\n\n";
    first = false;
    all += row_text(row, fmt::format("read {}, line {}", source, line));
  }
  return all;
}

std::string read_text(const std::filesystem::path& path) {
  if (path == "-") {
    std::string text(std::istreambuf_iterator<char>(std::cin), {});
    if (std::cin.bad()) throw Error(ErrorCode::io, "read standard input", "failed");
    return without_mark(std::move(text));
  }
  std::error_code ignored;
  const auto type = std::filesystem::status(path, ignored).type();
  const bool is_stream = type == std::filesystem::file_type::fifo || type == std::filesystem::file_type::character;
  std::string text = without_mark(is_stream ? read_stream(path) : read_file(path));
  return is_jsonl(path) ? join_json_rows(text, path.string()) : text;
}

}  // namespace mxq
