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

/// "MXQLOGIT", the version of the format (2), the hash, rows and vocab: 64 bytes. Then each row: vocab fp32 values and
/// their checksum, seeded with the row's number. Integers are of 64 bits; all is little-endian. In version 1 the hash
/// followed at once, and there were no checksums.
class LogitFileWriter {
 public:
  LogitFileWriter(const OutputFile& path, const LogitFileKey& key);

  void append(const float* rows, int64_t n);
  /// The file appears; before that there is none.
  void commit() { file_.commit(); }

 private:
  AtomicFile file_;
  int64_t vocab_, written_ = 0;
};

class LogitFile {
 public:
  /// Throws Error(invalid_file) for a file that is none or is not whole, Error(unsupported) for another version of the
  /// format, Error(usage) for one with another key.
  LogitFile(const std::filesystem::path& path, const LogitFileKey& key);

  /// The row of prediction i. Throws Error(invalid_file) naming it where its values are not those that were written.
  const float* row(int64_t i) const;

 private:
  std::string operation_;
  MappedFile file_;
  int64_t vocab_;
};

}  // namespace mxq
