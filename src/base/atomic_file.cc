#include "base/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <utility>

#include "base/mapped_file.h"
#include "mxq/error.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kEnd = ".partial";
constexpr size_t kRandom = 6, kLongestName = 200;

std::string temporary_beginning(const std::string& file) {
  return "." + file.substr(0, kLongestName) + ".";
}

/// A name that is unlikely to be taken.
fs::path temporary_of(const fs::path& path) {
  static thread_local std::minstd_rand random(std::random_device{}());
  std::string name = temporary_beginning(path.filename().string());
  for (size_t i = 0; i < kRandom; ++i) name += static_cast<char>('0' + random() % 10);
  name += kEnd;
  return path.parent_path() / name;
}

}  // namespace

bool is_temporary_of(std::string_view name, const std::string& file) {
  const std::string beginning = temporary_beginning(file);
  return name.size() == beginning.size() + kRandom + kEnd.size() && name.starts_with(beginning) && name.ends_with(kEnd);
}

std::string_view special_file(const fs::path& path) {
  std::error_code error;
  switch (fs::symlink_status(path, error).type()) {
    case fs::file_type::directory:
      return "a folder";
    case fs::file_type::symlink:
      return "a link";
    case fs::file_type::block:
    case fs::file_type::character:
      return "a device";
    case fs::file_type::fifo:
      return "a pipe";
    case fs::file_type::socket:
      return "a socket";
    default:
      return {};
  }
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  require_replaceable();
  open_temporary();
  if (fd_ < 0) fail(errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::require_replaceable() {
  const std::string_view what = special_file(path_);
  if (what.empty()) return;
  throw Error(ErrorCode::io, "write " + path_.string(), fmt::format("it is {}", what), "a new name or a regular file");
}

void AtomicFile::open_temporary() {
#ifdef O_TMPFILE
  const fs::path folder = path_.parent_path();
  fd_ = ::open(folder.empty() ? "." : folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (fd_ >= 0) return;
#endif
  do {
    temporary_ = temporary_of(path_);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
}

/// Of a file without one.
void AtomicFile::name_temporary() {
  if (!temporary_.empty()) return;
  const std::string open_file = fmt::format("/proc/self/fd/{}", fd_);
  int status = 0;
  do {
    temporary_ = temporary_of(path_);
    status = ::linkat(AT_FDCWD, open_file.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW);
  } while (status < 0 && errno == EEXIST);
  if (status == 0) return;
  temporary_.clear();
  fail(errno);
}

void AtomicFile::fail(int error) {
  throw Error(ErrorCode::io, "write " + path_.string(), std::strerror(error));
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(errno);
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
    size_ += static_cast<uint64_t>(written);
  }
}

void AtomicFile::overwrite(uint64_t at, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(errno);
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
    at += static_cast<uint64_t>(written);
  }
}

void AtomicFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text.data(), text.size())));
}

void AtomicFile::commit() {
  if (::fsync(fd_) < 0) fail(errno);
  require_replaceable();
  name_temporary();
  const int closed = ::close(std::exchange(fd_, -1));
  if (closed < 0 || ::rename(temporary_.c_str(), path_.c_str()) < 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    fail(error);
  }
  sync_folder(path_.parent_path());
}

void write_file(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_file(const fs::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void sync_folder(const fs::path& folder) {
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;  // a folder that cannot be opened for reading still holds the file
  ::fsync(fd);
  ::close(fd);
}

}  // namespace mxq
