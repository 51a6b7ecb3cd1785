// What makes a run the same run: its content, not its names.
#pragma once

#include <map>
#include <string>

#include "mxq/experiment.h"

namespace mxq {

/// Reads each file once.
class RunIdentifier {
 public:
  /// 32 hexadecimal digits, of this version of mxq, the model's bytes, what is done, and the texts' bytes. Where an
  /// argument is the path of a file, its bytes count instead. Throws Error(io) for what cannot be read.
  std::string id(const ExperimentRun& run);

 private:
  const std::string& content(const std::filesystem::path& path);
  std::string argument(const std::filesystem::path& folder, const std::string& text);

  std::map<std::string, std::string> known_;
};

}  // namespace mxq
