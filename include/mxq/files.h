// Whole small files, and texts.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mxq {

/// Writes under a temporary name in the same folder, fsyncs, renames: the file appears whole or not at all.
/// Throws Error(io) naming the file and the system's reason.
void write_file(const std::filesystem::path& path, std::string_view text);
/// Throws Error(not_found) or Error(io).
std::string read_file(const std::filesystem::path& path);

/// The text of a file: of a .jsonl, the rows' texts as below; any other as it is. "-" reads standard input.
/// Throws Error(not_found), Error(io), Error(invalid_file), or Error(unsupported) for more than 1 GiB.
std::string read_text(const std::filesystem::path& path);

/// Rows of JSON (C4's and others' form), a line each, that are objects with a string "text": the texts, joined with
/// "\n\n". Empty lines are passed over. `source` names the file in errors.
/// Throws Error(invalid_file) naming the line for any other row.
std::string join_json_rows(std::string_view rows, const std::string& source);

}  // namespace mxq
