// A file's bytes, mapped read-only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace mxq {

/// What git-lfs leaves in the place of a file that it has not fetched: how it begins, and for messages.
struct LfsPointer {
  static constexpr std::string_view kStart = "version https://git-lfs.github.com/spec/";
  static constexpr const char* kWhat = "a git-lfs pointer, which only names the file that belongs here";
  static constexpr const char* kInstead = "the file itself (run: git lfs pull)";
};

class MappedFile {
 public:
  /// Throws Error(not_found), Error(io), or Error(invalid_file) for a git-lfs pointer. An empty file maps to an empty
  /// span.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  void unmap();

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Hints for streaming: the range will be read soon / will not be read again, so that the memory it takes does not
/// count against us; the second for parts of a MappedFile, its neighbourhood included. Never an error.
void advise_needed(std::span<const std::byte> range);
void advise_done(std::span<const std::byte> range);

}  // namespace mxq
