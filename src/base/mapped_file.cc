#include "base/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  const bool missing = error == ENOENT || error == ENOTDIR;
  std::error_code no_link;
  const auto target = missing ? std::filesystem::read_symlink(path, no_link) : std::filesystem::path();
  if (!target.empty()) {
    throw Error(ErrorCode::not_found, "read " + path.string(),
                fmt::format("a link to '{}', which is not there", printable(target.string(), 300)),
                "the file that the link names (is the download whole?)");
  }
  throw Error(missing ? ErrorCode::not_found : ErrorCode::io, "read " + path.string(), std::strerror(error));
}

bool is_lfs_pointer(std::span<const std::byte> file) {
  constexpr std::string_view kStart = LfsPointer::kStart;
  return file.size() >= kStart.size() && file.size() < 1024 &&
         std::memcmp(file.data(), kStart.data(), kStart.size()) == 0;
}

/// The whole pages inside [range) when `inside`, else all pages that it touches.
std::pair<std::byte*, size_t> pages(std::span<const std::byte> range, bool inside) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto begin = reinterpret_cast<uintptr_t>(range.data());
  auto end = begin + range.size();
  begin = inside ? (begin + page - 1) / page * page : begin / page * page;
  end = inside ? end / page * page : (end + page - 1) / page * page;
  return {reinterpret_cast<std::byte*>(begin), end > begin ? end - begin : 0};
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path, errno);
  struct stat status {};
  int error = ::fstat(fd, &status) < 0 ? errno : 0;
  if (error == 0 && !S_ISREG(status.st_mode)) {
    ::close(fd);
    throw Error(ErrorCode::io, "read " + path.string(), "not a regular file");
  }
  if (error == 0 && status.st_size > 0) {
    size_ = static_cast<size_t>(status.st_size);
    void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      error = errno;
    } else {
      data_ = static_cast<const std::byte*>(data);
    }
  }
  ::close(fd);
  if (error != 0) fail(path, error);
  if (is_lfs_pointer(bytes())) {
    ::munmap(const_cast<std::byte*>(std::exchange(data_, nullptr)), size_);
    throw Error(ErrorCode::invalid_file, "read " + path.string(), LfsPointer::kWhat, LfsPointer::kInstead);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void advise_needed(std::span<const std::byte> range) {
  const auto [begin, size] = pages(range, /*inside=*/false);
  if (size > 0) ::madvise(begin, size, MADV_WILLNEED);
}

void advise_done(std::span<const std::byte> range) {
  const auto [begin, size] = pages(range, /*inside=*/true);
  if (size > 0) ::madvise(begin, size, MADV_DONTNEED);
}

}  // namespace mxq
