// Folders that appear whole or not at all, and whose making can be resumed after a kill.
#pragma once

#include <filesystem>
#include <string>

namespace mxq {

/// Throws Error(usage) if anything of that name exists.
void require_absent(const std::filesystem::path& folder);

/// ".NAME.SUFFIX" beside NAME: where things are while they are made.
std::filesystem::path sibling(const std::filesystem::path& folder, const std::string& suffix);

/// Gives the folder `from` the name `folder`, of which another may exist where `overwrite`. Throws Error(usage) as
/// above and Error(io); `folder` is then what it was.
void replace_folder(const std::filesystem::path& from, const std::filesystem::path& folder, bool overwrite);

/// Work happens in ".NAME.partial" beside NAME; commit() renames it. `key` identifies what is being made: if a killed
/// run of the same key left its partial folder, it is taken over with the files in it (resumed() is true), otherwise
/// it is emptied. Without commit() the destructor removes the partial folder: errors leave nothing, kills leave work.
class StagedFolder {
 public:
  /// Throws Error(usage) if `folder` exists and not `overwrite`; Error(io) if the partial folder cannot be made or
  /// another process is working in it.
  StagedFolder(std::filesystem::path folder, const std::string& key, bool overwrite);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  const std::filesystem::path& path() const { return partial_; }
  bool resumed() const { return resumed_; }
  void commit();

 private:
  std::filesystem::path folder_, partial_;
  int lock_ = -1;
  bool resumed_ = false;
  bool overwrite_ = false;
};

}  // namespace mxq
