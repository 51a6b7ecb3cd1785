#include "base/csv.h"

#include <fmt/format.h>

#include "mxq/error.h"

namespace mxq {

CsvReader::CsvReader(std::string_view text, std::string operation) : text_(text), operation_(std::move(operation)) {
  if (text_.starts_with("\xEF\xBB\xBF")) text_.remove_prefix(3);
}

bool CsvReader::next(std::vector<std::string>& cells) {
  while (at_ < text_.size()) {
    line_ = next_line_;
    cells.clear();
    bool blank = true, more = true;
    while (more) {
      bool quoted = false;
      cells.push_back(cell(quoted, more));
      blank &= !quoted && cells.back().empty();
    }
    if (blank && cells.size() == 1) continue;
    // As Excel writes CSV where the comma is the decimal point.
    if (header_ && cells.size() == 1 && cells[0].find_first_of(";\t") != std::string::npos) {
      fail("", "the cells are separated by semicolons or tabs", "commas between cells, and points in numbers");
    }
    header_ = false;
    return true;
  }
  return false;
}

void CsvReader::fail(std::string_view column, const std::string& given, const std::string& allowed) const {
  const std::string where = column.empty() ? "" : fmt::format(", column '{}'", column);
  throw Error(ErrorCode::invalid_file, operation_, fmt::format("line {}{}: {}", line_, where, given), allowed);
}

/// One cell and the separator after it; `more` tells whether the row goes on.
std::string CsvReader::cell(bool& quoted, bool& more) {
  std::string value;
  quoted = at_ < text_.size() && text_[at_] == '"';
  if (quoted) {
    ++at_;
    for (;; ++at_) {
      if (at_ >= text_.size()) fail("", "a quoted cell does not end");
      if (text_[at_] == '\n') ++next_line_;
      if (text_[at_] == '"') {
        ++at_;
        if (at_ >= text_.size() || text_[at_] != '"') break;
      }
      value += text_[at_];
    }
  } else {
    const size_t end = text_.find_first_of(",\n", at_);
    value = text_.substr(at_, end == text_.npos ? text_.npos : end - at_);
    at_ = end == text_.npos ? text_.size() : end;
    const bool ends_line = at_ >= text_.size() || text_[at_] == '\n';
    if (ends_line && value.ends_with('\r')) value.pop_back();
  }
  if (quoted && text_.substr(at_).starts_with("\r\n")) ++at_;
  more = false;
  if (at_ < text_.size()) {
    if (text_[at_] == '\n') {
      ++next_line_;
    } else if (text_[at_] == ',') {
      more = true;
    } else {
      fail("", "text after a quoted cell", "a comma or the end of the line");
    }
    ++at_;
  }
  return value;
}

std::string csv_cell(const std::string& cell) {
  if (cell.find_first_of(",\"\r\n") == cell.npos) return cell;
  std::string text = "\"";
  for (const char c : cell) text += c == '"' ? std::string("\"\"") : std::string(1, c);
  return text + "\"";
}

}  // namespace mxq
