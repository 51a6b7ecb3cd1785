#include "harness/worker_folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <vector>

#include "mxq/error.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;

int open_folder(const fs::path& folder) {
  return ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
    std::string name = (work / "worker-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      if (errno == ENOENT) continue;
      fail(std::strerror(errno));
    }
    const int fd = open_folder(name);
    const bool locked = fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0;
    const int reason = errno;
    if (locked && is_at(fd, name)) {
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
    if (probe.ended()) fs::remove_all(folder, ignored);
  }
  ::rmdir(work.c_str());
}

}  // namespace mxq
