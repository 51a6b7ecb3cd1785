#include "base/staged_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "base/written_files.h"
#include "mxq/error.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const fs::path& folder, const std::string& reason) {
  throw Error(ErrorCode::io, "make " + folder.string(), reason);
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

enum class Rename { exchange, onto_nothing };

/// 0, or the error; EINVAL or ENOSYS where the system cannot.
int rename_as(const fs::path& from, const fs::path& to, Rename how) {
#ifdef RENAME_EXCHANGE
  const unsigned flags = how == Rename::exchange ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
#else
  (void)from, (void)to, (void)how;
  return ENOSYS;
#endif
}

bool cannot(int error) {
  return error == EINVAL || error == ENOSYS || error == ENOTSUP;
}

fs::path free_sibling(const fs::path& folder, const std::string& suffix) {
  fs::path path = sibling(folder, suffix);
  for (int i = 2; is_there(path); ++i) path = sibling(folder, suffix + std::to_string(i));
  return path;
}

/// In two steps, where the system cannot do it in one.
void replace_slowly(const fs::path& from, const fs::path& folder) {
  const fs::path old = free_sibling(folder, "old");
  if (::rename(folder.c_str(), old.c_str()) < 0) fail(folder, std::strerror(errno));
  if (::rename(from.c_str(), folder.c_str()) < 0) {
    const int error = errno;
    ::rename(old.c_str(), folder.c_str());
    fail(folder, std::strerror(error));
  }
  sync_folder(folder.parent_path());
  remove_written(old);
}

}  // namespace

fs::path sibling(const fs::path& folder, const std::string& suffix) {
  return folder.parent_path() / ("." + folder.filename().string() + "." + suffix);
}

void replace_folder(const fs::path& from, const OutputFolder& out) {
  out.check();
  const fs::path& folder = out.path();
  if (!is_there(folder)) {
    int error = rename_as(from, folder, Rename::onto_nothing);
    if (cannot(error)) error = ::rename(from.c_str(), folder.c_str()) < 0 ? errno : 0;
    if (error != 0) fail(folder, std::strerror(error));
    sync_folder(folder.parent_path());
    return;
  }
  const int error = rename_as(from, folder, Rename::exchange);
  if (cannot(error)) return replace_slowly(from, folder);
  if (error != 0) fail(folder, std::strerror(error));
  // What came to be there in the last moment stays too.
  if (const auto why = why_not_written(from)) {
    rename_as(from, folder, Rename::exchange);
    throw Error(ErrorCode::usage, "make " + folder.string(), *why, "another name");
  }
  sync_folder(folder.parent_path());
  remove_written(from);
}

StagedFolder::StagedFolder(OutputFolder out, const std::string& key)
    : out_(std::move(out)), partial_(sibling(out_.path(), "partial")) {
  out_.check();
  std::error_code error;
  fs::create_directories(out_.path().parent_path(), error);
  if (!error && ::mkdir(partial_.c_str(), 0777) < 0 && errno != EEXIST) error = {errno, std::generic_category()};
  if (error) fail(out_.path(), error.message());
  lock_ = ::open(partial_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (lock_ < 0) fail(out_.path(), std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) < 0) {
    ::close(lock_);
    fail(out_.path(), "another process is making it");
  }
  try {
    if (const auto why = why_not_written(partial_)) fail(out_.path(), partial_.string() + ": " + *why);
    const auto written = read_written_files(partial_);
    resumed_ = written && written->key == key;
    if (!resumed_) {
      empty_written(partial_);
      begin_written_files(partial_, key);
    }
  } catch (...) {
    ::rmdir(partial_.c_str());  // where it is empty
    ::close(lock_);
    throw;
  }
}

StagedFolder::~StagedFolder() {
  if (lock_ < 0) return;
  remove_written(partial_);
  ::close(lock_);
}

fs::path StagedFolder::file(const std::string& name) const {
  add_written_file(partial_, name);
  return partial_ / name;
}

void StagedFolder::commit() {
  finish_written_files(partial_);
  sync_folder(partial_);
  replace_folder(partial_, out_);
  ::close(std::exchange(lock_, -1));
}

}  // namespace mxq
