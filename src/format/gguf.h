// GGUF files (versions 2 and 3): metadata and tensors of llama.cpp's model format.
// Layout: "GGUF", u32 version, u64 tensor count, u64 metadata count, the metadata, the tensor table, padding to
// general.alignment, the tensors' bytes. Little-endian throughout.
// Source of the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "mxq/tensor.h"

namespace mxq {

/// Types of metadata values; the numbers are the file's.
enum class GgufType : uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};
/// "u8", "string", ...
std::string_view gguf_type_name(GgufType type);
/// The file's number of a tensor's type (ggml's enum ggml_type); nullopt for dtypes that GGUF does not have.
std::optional<uint32_t> gguf_tensor_type(DType dtype);

/// An array of metadata: views into the file, so that a vocabulary of 100,000 tokens costs no copies.
struct GgufArray {
  GgufType element = GgufType::u8;  // never array: nested arrays are refused
  uint64_t count = 0;
  std::span<const std::byte> bytes;       // `count` elements, unaligned; empty for strings
  std::vector<std::string_view> strings;  // `count` of them where element is string
};

/// The alternatives are in the order of GgufType: index() is the type's number.
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                               GgufArray, uint64_t, int64_t, double>;

/// What a GGUF file says. Views point into the bytes that were parsed, which must outlive it.
struct GgufFile {
  std::string source;
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::map<std::string, GgufValue, std::less<>> metadata;
  /// The keys of `metadata` in the file's order.
  std::vector<std::string> keys;
  /// In the file's order; shapes are row-major (the file's ne reversed), names as in the file.
  std::vector<TensorView> tensors;

  /// nullptr where the file does not have the key.
  const GgufValue* find(std::string_view key) const;

  // find_*: nullopt where the key is absent. get_*: Error(invalid_file) naming the key where it is absent.
  // Both: Error(invalid_file) naming key, type and value where it is not what is asked for. Integers of any width are
  // accepted if the value fits, f64 also for f32.
  std::optional<uint32_t> find_u32(std::string_view key) const;
  std::optional<float> find_f32(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string> find_string(std::string_view key) const;
  std::optional<std::vector<std::string_view>> find_strings(std::string_view key) const;
  std::optional<std::vector<float>> find_f32s(std::string_view key) const;
  std::optional<std::vector<int64_t>> find_ints(std::string_view key) const;
  uint32_t get_u32(std::string_view key) const;
  float get_f32(std::string_view key) const;
  bool get_bool(std::string_view key) const;
  std::string get_string(std::string_view key) const;
  std::vector<std::string_view> get_strings(std::string_view key) const;
  std::vector<float> get_f32s(std::string_view key) const;
  std::vector<int64_t> get_ints(std::string_view key) const;
};

/// Parses a whole file. `source` names it in errors. Everything the file says is checked before it is used, and the
/// memory taken is bounded by a small multiple of the file's size.
/// Throws Error(invalid_file) for bytes that break the format, Error(unsupported) for version 1, big-endian files,
/// nested arrays and tensor types without a DType.
GgufFile parse_gguf(std::span<const std::byte> file, const std::string& source);

}  // namespace mxq
