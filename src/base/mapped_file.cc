#include "base/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
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

/// Addresses [begin, end).
struct Addresses {
  uintptr_t begin = 0, end = 0;

  void advise(int advice) const {
    if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
  }
};

Addresses addresses(std::span<const std::byte> range) {
  const auto begin = reinterpret_cast<uintptr_t>(range.data());
  return {begin, begin + range.size()};
}

uintptr_t page_size() {
  return static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
}

/// Where files are mapped now.
class Mappings {
 public:
  void add(std::span<const std::byte> bytes) {
    const std::lock_guard lock(mutex_);
    ends_[addresses(bytes).begin] = addresses(bytes).end;
  }
  void remove(const std::byte* begin) {
    const std::lock_guard lock(mutex_);
    ends_.erase(reinterpret_cast<uintptr_t>(begin));
  }
  /// The one that holds the range; nothing where none does.
  std::optional<Addresses> around(const Addresses& range) const {
    const std::lock_guard lock(mutex_);
    const auto next = ends_.upper_bound(range.begin);
    if (next == ends_.begin()) return std::nullopt;
    const auto& [begin, end] = *std::prev(next);
    return range.end <= end ? std::optional(Addresses{begin, end}) : std::nullopt;
  }

 private:
  mutable std::mutex mutex_;
  std::map<uintptr_t, uintptr_t> ends_;
};

Mappings& mappings() {
  static auto* const all = new Mappings;  // files may be unmapped after any other static is gone
  return *all;
}

/// Pages of a file that the system keeps, and maps, together: at most so many bytes, from a multiple of it on.
constexpr uintptr_t kLargestFolio = 2 << 20;

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
      mappings().add(bytes());
    }
  }
  ::close(fd);
  if (error != 0) fail(path, error);
  if (is_lfs_pointer(bytes())) {
    unmap();
    throw Error(ErrorCode::invalid_file, "read " + path.string(), LfsPointer::kWhat, LfsPointer::kInstead);
  }
}

MappedFile::~MappedFile() {
  unmap();
}

void MappedFile::unmap() {
  if (data_ == nullptr) return;
  mappings().remove(data_);
  ::munmap(const_cast<std::byte*>(std::exchange(data_, nullptr)), size_);
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
  const uintptr_t page = page_size();
  const auto [begin, end] = addresses(range);
  Addresses{begin / page * page, (end + page - 1) / page * page}.advise(MADV_WILLNEED);
}

// Linux 6.18 maps all of a folio where one page of it is read, so that what is let go comes back with its neighbours:
// the folios that the range touches go as a whole. Whoever still reads a part of them has it mapped again, unread.
void advise_done(std::span<const std::byte> range) {
  const auto wanted = addresses(range);
  const auto file = mappings().around(wanted);
  if (!file) return;
  const auto whole = [&](uintptr_t offset) { return std::min(file->begin + offset, file->end); };
  const uintptr_t first = (wanted.begin - file->begin) / kLargestFolio * kLargestFolio;
  const uintptr_t last = (wanted.end - file->begin + kLargestFolio - 1) / kLargestFolio * kLargestFolio;
  Addresses{whole(first), whole(last)}.advise(MADV_DONTNEED);
}

}  // namespace mxq
