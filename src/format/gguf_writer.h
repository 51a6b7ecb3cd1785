// Writing GGUF files, version 3.
// Source of the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/atomic_file.h"
#include "format/gguf.h"
#include "mxq/tensor.h"

namespace mxq {

/// A value of metadata that owns what it holds: every type of GgufType, and arrays of each but arrays. The type in the
/// file is that of the alternative, so that it is to be spelt out: uint32_t{1}, not 1, where llama.cpp wants an u32.
using GgufOwnValue =
    std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string, uint64_t, int64_t,
                 double, std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
                 std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>, std::vector<bool>,
                 std::vector<std::string>, std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>>;

struct GgufEntry {
  std::string key;  // "general.architecture"
  GgufOwnValue value;

  bool operator==(const GgufEntry&) const = default;
};

/// A copy of what a file says, of the same type.
GgufEntry gguf_entry(std::string key, const GgufValue& value);

struct GgufTensorSpec {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // row-major: the file has ne, which is the reverse

  /// Bytes of the tensor, without the padding behind it. Throws Error(usage) for a negative extent, a size beyond 63
  /// bits and rows that are not whole blocks of the dtype.
  int64_t bytes() const;
};

/// Tensors begin at multiples of this, which is GGUF's default; bytes between them are 0.
inline constexpr int64_t kGgufAlignment = 32;
/// So many bytes and the padding behind them.
constexpr int64_t gguf_padded(int64_t bytes) {
  return (bytes + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment;
}
/// What llama.cpp can hold (GGML_MAX_NAME, GGML_MAX_DIMS).
inline constexpr size_t kMaxGgufName = 63, kMaxGgufDimensions = 4;

/// What comes before the tensors' bytes: the metadata and the tensors' table in the order given, and the padding. The
/// same for the same arguments, so file sizes are known before anything is written. Throws Error(usage) as bytes(),
/// for keys and names that are empty or given twice, and for a general.alignment that is not an u32 of kGgufAlignment;
/// Error(unsupported) for dtypes that GGUF does not have, names of more than kMaxGgufName bytes, more than
/// kMaxGgufDimensions dimensions and keys of 2^16 bytes or more.
std::string gguf_header(const std::vector<GgufEntry>& entries, const std::vector<GgufTensorSpec>& tensors);

/// Bytes of the whole file, to the last: behind the last tensor there is padding too. Throws as gguf_header.
int64_t gguf_file_bytes(const std::vector<GgufEntry>& entries, const std::vector<GgufTensorSpec>& tensors);

/// One file, which appears under its name on commit() only.
class GgufWriter {
 public:
  /// Throws as gguf_header, and Error(io).
  GgufWriter(std::filesystem::path path, const std::vector<GgufEntry>& entries, std::vector<GgufTensorSpec> tensors);

  /// The next bytes of the tensors, in their order, cut as the caller likes; the padding is put by the writer. Throws
  /// Error(usage) for more bytes than the tensors have, Error(io).
  void write(std::span<const std::byte> bytes);
  /// Throws Error(usage), naming the tensor, if bytes are missing; Error(io).
  void commit();

 private:
  void pad_ended_tensors();

  std::filesystem::path path_;
  std::vector<GgufTensorSpec> tensors_;
  AtomicFile file_;
  int64_t total_ = 0, written_ = 0;  // of the tensors' bytes, without padding
  size_t current_ = 0;               // the first tensor whose padding is not written
  int64_t in_current_ = 0;           // bytes of it that are
};

}  // namespace mxq
