// Probes that have been fitted and wait for their turn.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "mxq/quantized_matrix.h"

namespace mxq {

/// What a matrix is turned into, and the squared error that its sensitivity is divided by.
struct FittedProbe {
  QuantizedMatrix matrix;
  double squared_error = 0;
};

/// In memory, or in a file of its own that goes with this, whatever ends the process.
class FittedProbes {
 public:
  /// In memory.
  FittedProbes() = default;
  /// In a file in a folder, which is made where it is not there. Throws Error(io).
  explicit FittedProbes(const std::filesystem::path& folder);

  /// Throws Error(io) where a file cannot take it.
  void add(const std::string& name, FittedProbe probe);
  /// Handed out once; nullopt where there is none. Throws Error(io).
  std::optional<FittedProbe> take(const std::string& name);
  int64_t size() const { return static_cast<int64_t>(probes_.size()); }

 private:
  struct Entry {
    FittedProbe probe;  // its parts empty where they are in the file
    int64_t begin = 0;  // in it
  };
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  /// Goes to a place in the file. Throws Error(io).
  void seek(int64_t at, const char* what) const;

  std::map<std::string, Entry> probes_;
  std::filesystem::path folder_;
  std::unique_ptr<std::FILE, Close> file_;  // null: in memory
  int64_t end_ = 0;
};

}  // namespace mxq
