// Text files: plain, rows of JSON, standard input.
#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <string>
#include <utility>

#include "format/strict_json.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr int64_t kLongestText = int64_t{1} << 30;

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

[[noreturn]] void refuse_length(const std::string& operation, const std::string& given) {
  throw Error(ErrorCode::unsupported, operation, given, "texts of at most " + format_size(kLongestText));
}

/// What cannot be mapped as read_file does: standard input, pipes such as the shell's <(command), and devices, which
/// may never end.
std::string read_stream(std::istream& stream, const std::string& operation) {
  constexpr size_t kPiece = 1 << 16;
  std::string text;
  while (stream) {
    const size_t had = text.size();
    if (had > kLongestText) refuse_length(operation, "a longer text");
    text.resize(had + kPiece);
    stream.read(text.data() + had, kPiece);
    text.resize(had + static_cast<size_t>(stream.gcount()));
  }
  if (!stream.eof()) throw Error(ErrorCode::io, operation, "failed");
  return text;
}

std::string read_mapped(const std::filesystem::path& path, const std::string& operation) {
  std::error_code ignored;
  const auto size = std::filesystem::file_size(path, ignored);
  if (!ignored && size > kLongestText) refuse_length(operation, format_size(static_cast<int64_t>(size)));
  return read_file(path);
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
  if (path == "-") return without_mark(read_stream(std::cin, "read standard input"));
  const std::string operation = "read " + path.string();
  std::error_code ignored;
  const auto type = std::filesystem::status(path, ignored).type();
  const bool is_stream = type == std::filesystem::file_type::fifo || type == std::filesystem::file_type::character;
  std::ifstream stream;
  if (is_stream) stream.open(path, std::ios::binary);
  std::string text = without_mark(is_stream ? read_stream(stream, operation) : read_mapped(path, operation));
  return is_jsonl(path) ? join_json_rows(text, path.string()) : text;
}

}  // namespace mxq
