#include "base/staged_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/atomic_file.h"
#include "mxq/error.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

constexpr const char* kKeyFile = ".key";

[[noreturn]] void fail(const fs::path& folder, const std::string& reason) {
  throw Error(ErrorCode::io, "make " + folder.string(), reason);
}

fs::path without_trailing_slash(fs::path folder) {
  folder = fs::absolute(folder).lexically_normal();
  return folder.has_filename() ? folder : folder.parent_path();
}

}  // namespace

void require_absent(const fs::path& path) {
  std::error_code error;
  const fs::path folder = without_trailing_slash(path);
  if (!fs::exists(fs::symlink_status(folder, error))) return;
  throw Error(ErrorCode::usage, "make " + folder.string(), "it exists", "another name, or --overwrite");
}

fs::path sibling(const fs::path& path, const std::string& suffix) {
  const fs::path folder = without_trailing_slash(path);
  return folder.parent_path() / ("." + folder.filename().string() + "." + suffix);
}

void replace_folder(const fs::path& from, const fs::path& path, bool overwrite) {
  const fs::path folder = without_trailing_slash(path), old = sibling(folder, "old");
  std::error_code error;
  if (!overwrite) require_absent(folder);
  const bool replacing = fs::exists(fs::symlink_status(folder, error));
  if (replacing) {
    fs::remove_all(old, error);
    fs::rename(folder, old, error);
    if (error) fail(folder, error.message());
  }
  fs::rename(from, folder, error);
  if (error) {
    std::error_code ignored;
    if (replacing) fs::rename(old, folder, ignored);
    fail(folder, error.message());
  }
  sync_folder(folder.parent_path());
  if (replacing) fs::remove_all(old, error);
}

StagedFolder::StagedFolder(fs::path folder, const std::string& key, bool overwrite)
    : folder_(without_trailing_slash(std::move(folder))), overwrite_(overwrite) {
  std::error_code error;
  if (!overwrite) require_absent(folder_);
  partial_ = sibling(folder_, "partial");
  fs::create_directories(partial_, error);
  if (error) fail(folder_, error.message());
  lock_ = ::open(partial_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) fail(folder_, std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) < 0) {
    ::close(lock_);
    fail(folder_, "another process is making it");
  }
  try {
    resumed_ = fs::exists(partial_ / kKeyFile) && read_file(partial_ / kKeyFile) == key;
    if (!resumed_) {
      for (const auto& entry : fs::directory_iterator(partial_)) fs::remove_all(entry.path());
      write_file(partial_ / kKeyFile, key);
    }
  } catch (...) {
    fs::remove_all(partial_, error);
    ::close(lock_);
    throw;
  }
}

StagedFolder::~StagedFolder() {
  if (lock_ < 0) return;
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
  ::close(lock_);
}

void StagedFolder::commit() {
  std::error_code ignored;
  fs::remove(partial_ / kKeyFile, ignored);
  sync_folder(partial_);
  replace_folder(partial_, folder_, overwrite_);
  ::close(std::exchange(lock_, -1));
}

}  // namespace mxq
