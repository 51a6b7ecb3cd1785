// CSV (RFC 4180: cells may be quoted, "" is a quote; lines end in LF or CRLF).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// Splits a text into rows of cells; knows the line that a row starts on.
class CsvReader {
 public:
  /// The text must outlive it. `operation` is that of errors: "read error table errors.csv".
  CsvReader(std::string_view text, std::string operation);

  /// False at the end. Blank lines are passed over. Throws Error(invalid_file) for quotes that do not fit,
  /// and for other separators than commas.
  bool next(std::vector<std::string>& cells);

  /// Error(invalid_file) about the last row, or one of its columns.
  [[noreturn]] void fail(std::string_view column, const std::string& given, const std::string& allowed = {}) const;

 private:
  std::string cell(bool& quoted, bool& more);

  std::string_view text_;
  std::string operation_;
  size_t at_ = 0;
  int64_t line_ = 1, next_line_ = 1;
  bool header_ = true;  // the next row is the first
};

/// In quotes where it has to be.
std::string csv_cell(const std::string& cell);

}  // namespace mxq
