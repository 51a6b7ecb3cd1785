// Whole small files.
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

}  // namespace mxq
