// A model's logits on disk, so that whatever is compared with it on the same text need not run it again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "mxq/evaluate.h"
#include "mxq/output.h"
#include "mxq/progress.h"

namespace mxq {

/// What a file of logits is of.
struct LogitFileKey {
  std::string hash;  // 32 characters: the model, the windows and how it was run
  int64_t rows = 0, vocab = 0;
};

/// "MXQLOGIT", the version of the format (3), the hash's first 24 characters, rows, vocab and the checksum of all rows:
/// 64 bytes. Then rows x vocab fp32 values. Integers are of 64 bits; all is little-endian. The checksum of a row is
/// seeded with that of the rows before it. (Version 1 had no version and no checksum, version 2 a checksum behind each
/// row.)
class LogitFileWriter {
 public:
  LogitFileWriter(const OutputFile& path, const LogitFileKey& key);

  void append(const float* rows, int64_t n);
  /// The file appears; before that there is none.
  void commit();

 private:
  AtomicFile file_;
  int64_t vocab_;
  uint64_t sum_ = 0;
};

class LogitFile {
 public:
  /// Reads all of the file, so that nothing is computed beside damaged logits. Throws Error(invalid_file) for a file
  /// that is none, not whole or damaged, Error(unsupported) for another version of the format, Error(usage) for one
  /// with another key.
  LogitFile(const std::filesystem::path& path, const LogitFileKey& key, Progress& progress);

  /// The row of prediction i.
  const float* row(int64_t i) const;

 private:
  MappedFile file_;
  int64_t vocab_;
};

}  // namespace mxq
