// The list of files that mxq keeps in every folder that it writes: what it may remove there again, and nothing else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace mxq {

/// Of the list itself.
inline constexpr std::string_view kWrittenFilesName = ".mxq-files";

/// The first line is "mxq files 1". Of a folder in the making the second is "key KEY", then come the names of what has
/// been begun; of a finished one a line a file: bytes, hash (of large files: of pieces of it; "-": not known) and name,
/// separated by blanks.
struct WrittenFiles {
  struct File {
    int64_t bytes = -1;  // -1: begun
    std::string hash;    // empty: not known
  };
  std::optional<std::string> key;
  std::map<std::string, File> files;
};

/// nullopt where the folder has no such list, or one that is damaged.
std::optional<WrittenFiles> read_written_files(const std::filesystem::path& folder);

/// Starts the list of a folder in the making. Throws Error(io).
void begin_written_files(const std::filesystem::path& folder, const std::string& key);
/// Adds a file that is about to be written. Throws Error(io).
void add_written_file(const std::filesystem::path& folder, const std::string& name);
/// The list of a finished folder, of the files as they are now. Throws Error(io).
void finish_written_files(const std::filesystem::path& folder);

/// What of a folder is not as mxq wrote it, in words for an error: "it holds 'notes.txt', which mxq did not write".
/// nullopt where all of it is. An empty folder holds nothing that could be lost, nor are files that are no longer
/// there.
std::optional<std::string> why_not_written(const std::filesystem::path& folder);

/// Removes the files that mxq wrote.
void empty_written(const std::filesystem::path& folder) noexcept;
/// And the folder, where that was all of it.
void remove_written(const std::filesystem::path& folder) noexcept;

}  // namespace mxq
