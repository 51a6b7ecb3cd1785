// Who works on a store, told by locks: a worker holds one as long as it lives, and the kernel takes it away when it
// ends, however that is, whatever number another process has since and in whatever container it ran.
#pragma once

#include <filesystem>
#include <string>

namespace mxq {

/// A worker's own folder for what its runs write, locked while it exists and removed in the end.
class WorkerFolder {
 public:
  /// A new one in `work`, which is made where it is not there. Throws Error(io).
  explicit WorkerFolder(const std::filesystem::path& work);
  ~WorkerFolder();
  WorkerFolder(const WorkerFolder&) = delete;
  WorkerFolder& operator=(const WorkerFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string name() const { return path_.filename().string(); }

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

/// Whether no process holds the worker's folder.
bool worker_ended(const std::filesystem::path& folder);
/// Removes the folders in `work` whose workers have ended, and `work` where it is empty then. What no worker made
/// stays.
void remove_ended_workers(const std::filesystem::path& work);

}  // namespace mxq
