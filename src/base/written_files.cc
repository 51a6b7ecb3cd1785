#include "base/written_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "base/atomic_file.h"
#include "base/content_hash.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kFirstLine = "mxq files 1";
constexpr std::string_view kKey = "key ";
/// Larger lists are none of ours.
constexpr uintmax_t kMostBytes = uintmax_t{64} << 20;
/// Of larger files only pieces are hashed, so many of so many bytes, evenly apart: whoever trains or converts weights
/// changes all of them.
constexpr size_t kHashedBytes = size_t{1} << 20, kPieces = 256, kPieceBytes = 4096;

/// Reads pieces instead of mapping the file: where one page of a mapping is read, Linux maps all of its 2 MiB.
std::string hash_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string piece;
  ContentHash hash;
  const auto add = [&](size_t at, size_t bytes) {
    piece.resize(bytes);
    file.seekg(static_cast<std::streamoff>(at));
    if (bytes > 0 && !file.read(piece.data(), static_cast<std::streamsize>(bytes))) {
      throw Error(ErrorCode::io, "read " + path.string(), std::strerror(errno));
    }
    hash.add(piece);
  };
  const size_t size = fs::file_size(path);
  if (size <= kHashedBytes) {
    add(0, size);
  } else {
    const size_t last = size - kPieceBytes;
    for (size_t i = 0; i < kPieces; ++i) {
      add(last / (kPieces - 1) * i + last % (kPieces - 1) * i / (kPieces - 1), kPieceBytes);
    }
  }
  return hash.hex();
}

std::optional<std::pair<std::string, WrittenFiles::File>> parse_line(const std::string& line) {
  const size_t first = line.find(' '), second = line.find(' ', first + 1);
  if (first == std::string::npos || second == std::string::npos || second + 1 == line.size()) return {};
  const auto bytes = parse_int(std::string_view(line).substr(0, first));
  if (!bytes) return {};
  const std::string hash = line.substr(first + 1, second - first - 1);
  return std::pair(line.substr(second + 1), WrittenFiles::File{*bytes, hash == "-" ? "" : hash});
}

fs::file_type type_of(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type();
}

/// Temporary files of a write that was killed.
bool is_begun(const WrittenFiles& written, const std::string& name) {
  if (is_temporary_of(name, std::string(kWrittenFilesName))) return true;
  for (const auto& [file, entry] : written.files) {
    if (is_temporary_of(name, file)) return true;
  }
  return false;
}

std::optional<std::string> why_not_written(const fs::path& path, const std::string& name, const WrittenFiles& written) {
  if (name == kWrittenFilesName) return {};
  const auto found = written.files.find(name);
  const fs::file_type type = type_of(path);
  if (type == fs::file_type::not_found) return {};  // gone since the folder was listed
  if (type != fs::file_type::regular) return fmt::format("it holds '{}', which mxq did not write", name);
  if (found == written.files.end()) {
    if (written.key && is_begun(written, name)) return {};
    return fmt::format("it holds '{}', which mxq did not write", name);
  }
  const auto& [bytes, hash] = found->second;
  if (bytes < 0) return {};
  std::error_code error;
  const bool changed =
      static_cast<int64_t>(fs::file_size(path, error)) != bytes || error || (!hash.empty() && hash_of(path) != hash);
  if (changed) return fmt::format("its '{}' is no longer as mxq wrote it", name);
  return {};
}

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(folder)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace

std::optional<WrittenFiles> read_written_files(const fs::path& folder) {
  const fs::path path = folder / kWrittenFilesName;
  std::error_code error;
  if (type_of(path) != fs::file_type::regular || fs::file_size(path, error) > kMostBytes || error) return {};
  const std::string text = read_file(path);
  auto lines = split(text, '\n');
  if (lines.front() != kFirstLine) return {};
  // The last line of a list in the making may have been cut off: its file has not been begun then.
  lines.pop_back();
  WrittenFiles written;
  for (size_t i = 1; i < lines.size(); ++i) {
    if (i == 1 && lines[i].starts_with(kKey)) {
      written.key = lines[i].substr(kKey.size());
    } else if (written.key) {
      written.files[lines[i]] = {};
    } else if (auto entry = parse_line(lines[i])) {
      written.files.insert(std::move(*entry));
    } else {
      return {};
    }
  }
  return written;
}

void begin_written_files(const fs::path& folder, const std::string& key) {
  write_file(folder / kWrittenFilesName, fmt::format("{}\n{}{}\n", kFirstLine, kKey, key));
}

void add_written_file(const fs::path& folder, const std::string& name) {
  const fs::path path = folder / kWrittenFilesName;
  const std::string line = name + "\n";
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
  const bool written = fd >= 0 && ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!written) throw Error(ErrorCode::io, "write " + path.string(), std::strerror(error));
}

void finish_written_files(const fs::path& folder) {
  std::string text = fmt::format("{}\n", kFirstLine);
  for (const fs::path& path : entries_of(folder)) {
    const std::string name = path.filename().string();
    if (name == kWrittenFilesName) continue;
    const auto bytes = static_cast<int64_t>(fs::file_size(path));
    text += fmt::format("{} {} {}\n", bytes, hash_of(path), name);
  }
  write_file(folder / kWrittenFilesName, text);
}

std::optional<std::string> why_not_written(const fs::path& folder) {
  try {
    const auto entries = entries_of(folder);
    if (entries.empty()) return {};
    const auto written = read_written_files(folder);
    for (const fs::path& path : entries) {
      const std::string name = path.filename().string();
      // Killed before its list was there.
      if (!written && is_temporary_of(name, std::string(kWrittenFilesName))) continue;
      if (!written) {
        return fmt::format("it has no list of what mxq wrote ({}), and holds '{}'", kWrittenFilesName, name);
      }
      if (auto why = why_not_written(path, name, *written)) return why;
    }
    return {};
  } catch (const fs::filesystem_error& error) {
    return fmt::format("what it holds cannot be listed ({})", error.code().message());
  } catch (const Error& error) {
    return error.what();
  }
}

void empty_written(const fs::path& folder) noexcept {
  try {
    const auto written = read_written_files(folder).value_or(WrittenFiles{});
    for (const fs::path& path : entries_of(folder)) {
      const std::string name = path.filename().string();
      const bool ours = written.files.contains(name) || is_begun(written, name);
      if (ours && type_of(path) == fs::file_type::regular) ::unlink(path.c_str());
    }
    // Last, so that whoever is killed before can go on; it stays where something else does.
    if (entries_of(folder).size() == 1) ::unlink((folder / kWrittenFilesName).c_str());
  } catch (...) {
    // What cannot be removed stays.
  }
}

void remove_written(const fs::path& folder) noexcept {
  empty_written(folder);
  ::rmdir(folder.c_str());
}

}  // namespace mxq
