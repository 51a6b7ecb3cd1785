// Folders that appear whole or not at all, and whose making can be resumed after a kill.
#pragma once

#include <filesystem>
#include <string>

#include "mxq/output.h"

namespace mxq {

/// ".NAME.SUFFIX" beside NAME: where things are while they are made.
std::filesystem::path sibling(const std::filesystem::path& folder, const std::string& suffix);

/// Gives the finished folder `from` (a StagedFolder's) the name `out`, at once where the system can exchange names.
/// Throws Error(usage) for what `out` refuses, and Error(io); what has the name is then what it was.
void replace_folder(const std::filesystem::path& from, const OutputFolder& out);

/// Work happens in ".NAME.partial" beside NAME; commit() renames it. `key` identifies what is being made: if a killed
/// run of the same key left its partial folder, it is taken over with the files in it (resumed() is true), otherwise
/// what mxq wrote there is removed. Without commit() the destructor does so: errors leave nothing, kills leave work.
class StagedFolder {
 public:
  /// Throws Error(usage) for what `out` refuses; Error(io) if the partial folder cannot be made or another process is
  /// working in it.
  StagedFolder(OutputFolder out, const std::string& key);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  const std::filesystem::path& path() const { return partial_; }
  /// Where a file of the folder is written. Whatever is written must be asked for here: nothing else is ever removed.
  std::filesystem::path file(const std::string& name) const;
  bool resumed() const { return resumed_; }
  void commit();

 private:
  OutputFolder out_;
  std::filesystem::path partial_;
  int lock_ = -1;
  bool resumed_ = false;
};

}  // namespace mxq
