#include "jobs/fitted_probes.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>
#include <system_error>
#include <utility>

#include "mxq/error.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const char* what, const fs::path& folder) {
  throw Error(ErrorCode::io, std::string(what) + " a temporary file in " + folder.string(),
              std::strerror(errno == 0 ? EIO : errno));
}

/// All of `bytes`, by `transfer` (data, size, offset): pread() or pwrite().
template <typename Byte, typename Transfer>
void transfer_all(std::span<Byte> bytes, int64_t at, const char* what, const fs::path& folder, Transfer transfer) {
  while (!bytes.empty()) {
    errno = 0;
    const ssize_t done = transfer(bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) fail(what, folder);
    bytes = bytes.subspan(static_cast<size_t>(done));
    at += done;
  }
}

}  // namespace

FittedProbes::FittedProbes(const fs::path& folder) : folder_(folder) {
  std::error_code ignored;
  fs::create_directories(folder_, ignored);
  std::string name = (folder_ / "probes.XXXXXX").string();
  file_ = ::mkstemp(name.data());
  if (file_ < 0) fail("make", folder_);
  ::unlink(name.c_str());
}

FittedProbes::FittedProbes(FittedProbes&& other) noexcept
    : probes_(std::move(other.probes_)),
      folder_(std::move(other.folder_)),
      file_(std::exchange(other.file_, -1)),
      end_(other.end_) {}

FittedProbes::~FittedProbes() {
  if (file_ >= 0) ::close(file_);
}

void FittedProbes::add(const std::string& name, FittedProbe probe) {
  Entry entry{std::move(probe), end_};
  if (file_ >= 0) {
    for (auto& part : entry.probe.matrix.parts) {
      transfer_all(std::span<const std::byte>(part), end_, "write", folder_,
                   [&](const std::byte* data, size_t size, off_t at) { return ::pwrite(file_, data, size, at); });
      end_ += static_cast<int64_t>(part.size());
      part = {};
    }
  }
  probes_.insert_or_assign(name, std::move(entry));
}

std::optional<FittedProbe> FittedProbes::take(const std::string& name) {
  auto found = probes_.extract(name);
  if (!found) return std::nullopt;
  Entry& entry = found.mapped();
  if (file_ >= 0) {
    QuantizedMatrix matrix(entry.probe.matrix.layout);
    int64_t at = entry.begin;
    for (auto& part : matrix.parts) {
      transfer_all(std::span(part), at, "read", folder_,
                   [&](std::byte* data, size_t size, off_t from) { return ::pread(file_, data, size, from); });
      at += static_cast<int64_t>(part.size());
    }
    entry.probe.matrix = std::move(matrix);
  }
  return std::move(entry.probe);
}

}  // namespace mxq
