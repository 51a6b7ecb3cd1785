// Files that appear whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "mxq/files.h"

namespace mxq {

/// Writes ".NAME.partial" beside NAME; commit() fsyncs and renames it. Without commit() the destructor removes it.
/// The temporary name is fixed, so what a killed run left behind is overwritten by the next.
/// Every failure throws Error(io) naming the file and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  uint64_t size() const { return size_; }
  void commit();

 private:
  [[noreturn]] void fail(int error);

  std::filesystem::path path_, partial_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

/// Makes the names in a folder durable (after renames into it).
void sync_folder(const std::filesystem::path& folder);

}  // namespace mxq
