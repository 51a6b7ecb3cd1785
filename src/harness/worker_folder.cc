#include "harness/worker_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/atomic_file.h"
#include "mxq/error.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "worker-";

int open_folder(const fs::path& folder) {
  return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/// In every worker's folder: what says that all of it is a worker's.
constexpr std::string_view kMark = ".mxq-worker";
constexpr std::string_view kMarkText = "mxq bench removes this folder, and all in it, when its worker has ended\n";

bool is_marked(const fs::path& folder) {
  std::error_code ignored;
  const fs::path mark = folder / kMark;
  return fs::is_regular_file(fs::symlink_status(mark, ignored)) && fs::file_size(mark, ignored) == kMarkText.size() &&
         read_file(mark) == kMarkText;
}

/// Takes away a worker's folder; of another, nothing but the name of an empty one that a worker may have made.
void remove_worker(const fs::path& folder) {
  std::error_code ignored;
  if (is_marked(folder)) {
    fs::remove_all(folder, ignored);
  } else if (folder.filename().string().starts_with(kPrefix)) {
    ::rmdir(folder.c_str());
  }
}

/// Whether the folder's name still stands for what is open.
bool is_at(int fd, const fs::path& folder) {
  struct stat opened, named;
  return ::fstat(fd, &opened) == 0 && ::stat(folder.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

/// Whether a folder's worker has ended. If so, nobody can lock the folder meanwhile.
class Probe {
 public:
  explicit Probe(const fs::path& folder) : fd_(open_folder(folder)) {
    // Shared, so that two processes that look at once do not take each other for the worker.
    ended_ = fd_ >= 0 ? ::flock(fd_, LOCK_SH | LOCK_NB) == 0 : errno == ENOENT;
  }
  ~Probe() {
    if (fd_ >= 0) ::close(fd_);
  }
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;
  bool ended() const { return ended_; }

 private:
  int fd_;
  bool ended_;
};

}  // namespace

WorkerFolder::WorkerFolder(const fs::path& work) {
  const auto fail = [&](const std::string& reason) { throw Error(ErrorCode::io, "make " + work.string(), reason); };
  // Until it is locked, another process may take it for that of a worker that has ended, and remove it or all of
  // `work`.
  while (lock_ < 0) {
    std::error_code error;
    fs::create_directories(work, error);
    if (error) fail(error.message());
    std::string name = (work / fmt::format("{}XXXXXX", kPrefix)).string();
    if (::mkdtemp(name.data()) == nullptr) {
      if (errno == ENOENT) continue;
      fail(std::strerror(errno));
    }
    const int fd = open_folder(name);
    const bool locked = fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0;
    const int reason = errno;
    if (locked && is_at(fd, name)) {
      try {
        write_file(fs::path(name) / kMark, kMarkText);
      } catch (...) {
        ::rmdir(name.c_str());
        ::close(fd);
        throw;
      }
      path_ = name;
      lock_ = fd;
      return;
    }
    if (fd >= 0) ::close(fd);
    if (!locked && reason != ENOENT && reason != EWOULDBLOCK) fail(std::strerror(reason));
  }
}

WorkerFolder::~WorkerFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  ::close(lock_);
  ::rmdir(path_.parent_path().c_str());  // if no other worker is in it
}

bool worker_ended(const fs::path& folder) {
  const Probe probe(folder);
  return probe.ended();
}

void remove_ended_workers(const fs::path& work) {
  std::error_code ignored;
  std::vector<fs::path> folders;
  for (fs::directory_iterator item(work, ignored), end; item != end; item.increment(ignored)) {
    folders.push_back(item->path());
  }
  for (const auto& folder : folders) {
    // Held until it is gone: a worker that has just made it tries another.
    const Probe probe(folder);
    if (probe.ended()) remove_worker(folder);
  }
  ::rmdir(work.c_str());
}

}  // namespace mxq
