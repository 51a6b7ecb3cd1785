// Files that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "mxq/files.h"

namespace mxq {

/// Writes a file without a name, or with one that nothing has had (".NAME.123456.partial" beside NAME, where the file
/// system knows no files without a name); commit() fsyncs and renames it. Without commit() nothing is left. Only a
/// regular file is ever replaced: no folder, link or device. Every failure throws Error(io) naming the file and the
/// system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// In the place of bytes that are written already: [at, at + bytes.size()) lies within size().
  void overwrite(uint64_t at, std::span<const std::byte> bytes);
  uint64_t size() const { return size_; }
  void commit();

 private:
  [[noreturn]] void fail(int error);
  void open_temporary();
  void name_temporary();
  void require_replaceable();

  std::filesystem::path path_, temporary_;  // no temporary: the file has no name
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// Whether `name` is one under which an AtomicFile of the name `file` may be written.
bool is_temporary_of(std::string_view name, const std::string& file);

/// What a path is that is neither absent nor a regular file: "a link", "a folder", "a device", ...; empty otherwise.
std::string_view special_file(const std::filesystem::path& path);

/// Makes the names in a folder durable (after renames into it).
void sync_folder(const std::filesystem::path& folder);

}  // namespace mxq
