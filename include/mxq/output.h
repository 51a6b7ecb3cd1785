// Where results go. Everything that a user names as an output passes through here, so that nothing is destroyed that
// mxq did not write.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// What a job reads.
struct InputPath {
  std::string what;            // its name in errors: "the model"
  std::filesystem::path path;  // file or folder, or another output; what is empty or "-" is passed over
};
using InputPaths = std::vector<InputPath>;

/// A kind of file that mxq writes, known by how it begins.
struct FileKind {
  std::string_view name;  // in errors: "an error table"
  std::string_view beginning;
};

/// A file to write. Refused is: what is not a regular file (a folder, a link, a device); a file that is an input, lies
/// in an input's folder or is read through it; a file that is neither empty nor of the kind.
class OutputFile {
 public:
  /// Throws Error(usage) for what is refused; to be made before any work.
  OutputFile(std::filesystem::path path, const FileKind& kind, InputPaths inputs);

  const std::filesystem::path& path() const { return path_; }
  /// The file appears whole or not at all. Checks again: what has come to be there meanwhile stays. Throws Error(usage)
  /// as above, and Error(io).
  void write(std::string_view text) const;
  /// The check alone, once more.
  void check() const;

 private:
  std::filesystem::path path_;
  FileKind kind_;
  InputPaths inputs_;
};

/// A folder to make. Refused is: the folder of an input, one in it or above it; the working folder or one above it; a
/// link; what exists, unless `overwrite` is set and mxq wrote it (its list of files, docs/reference/checkpoint.md, says
/// so) and it holds nothing else. So is a name whose place for unfinished work (".NAME.partial") holds what mxq did not
/// write.
class OutputFolder {
 public:
  /// Throws Error(usage) for what is refused; to be made before any work.
  OutputFolder(const std::filesystem::path& folder, bool overwrite, InputPaths inputs);

  /// Absolute, without links and "..".
  const std::filesystem::path& path() const { return path_; }
  /// The check once more.
  void check() const;

 private:
  std::filesystem::path path_;
  bool overwrite_;
  InputPaths inputs_;
};

}  // namespace mxq
