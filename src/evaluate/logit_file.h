// A model's logits on disk, so that whatever is compared with it on the same text need not run it again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "mxq/evaluate.h"
#include "mxq/output.h"

namespace mxq {

/// What a file of logits is of.
struct LogitFileKey {
  std::string hash;  // 32 characters: the model, the windows and how it was run
  int64_t rows = 0, vocab = 0;
};

/// "MXQLOGIT", the hash, rows and vocab as 64-bit little-endian integers, zeros up to 64 bytes; then rows x vocab
/// fp32 values.
class LogitFileWriter {
 public:
  LogitFileWriter(const OutputFile& path, const LogitFileKey& key);

  void append(const float* rows, int64_t n);
  /// The file appears; before that there is none.
  void commit() { file_.commit(); }

 private:
  AtomicFile file_;
  int64_t vocab_;
};

class LogitFile {
 public:
  /// Throws Error(invalid_file) for a file that is none or is not whole, Error(usage) for one with another key.
  LogitFile(const std::filesystem::path& path, const LogitFileKey& key);

  /// The row of prediction i and those behind it.
  const float* row(int64_t i) const;

 private:
  MappedFile file_;
  int64_t vocab_;
};

}  // namespace mxq
