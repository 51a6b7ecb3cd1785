#include "format/gguf_writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "write GGUF";
constexpr uint32_t kVersion = 3;
constexpr size_t kMaxKey = (1 << 16) - 1;

template <typename T>
struct ElementOf {
  using type = T;
  static constexpr bool is_array = false;
};
template <typename T>
struct ElementOf<std::vector<T>> {
  using type = T;
  static constexpr bool is_array = true;
};

// The number of a C++ type in GgufValue, which is that of the file.
template <typename T>
constexpr GgufType type_of() {
  if constexpr (std::is_same_v<T, uint8_t>) return GgufType::u8;
  if constexpr (std::is_same_v<T, int8_t>) return GgufType::i8;
  if constexpr (std::is_same_v<T, uint16_t>) return GgufType::u16;
  if constexpr (std::is_same_v<T, int16_t>) return GgufType::i16;
  if constexpr (std::is_same_v<T, uint32_t>) return GgufType::u32;
  if constexpr (std::is_same_v<T, int32_t>) return GgufType::i32;
  if constexpr (std::is_same_v<T, float>) return GgufType::f32;
  if constexpr (std::is_same_v<T, bool>) return GgufType::boolean;
  if constexpr (std::is_same_v<T, std::string>) return GgufType::string;
  if constexpr (std::is_same_v<T, uint64_t>) return GgufType::u64;
  if constexpr (std::is_same_v<T, int64_t>) return GgufType::i64;
  if constexpr (std::is_same_v<T, double>) return GgufType::f64;
}

template <typename T>
void put(std::string& out, T value) {
  if constexpr (std::is_same_v<T, bool>) {
    out += static_cast<char>(value);
  } else {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

void put(std::string& out, const std::string& text) {
  put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

void put_value(std::string& out, const GgufOwnValue& value) {
  std::visit(
      [&]<typename T>(const T& held) {
        using Element = typename ElementOf<T>::type;
        if constexpr (ElementOf<T>::is_array) {
          put(out, static_cast<uint32_t>(GgufType::array));
          put(out, static_cast<uint32_t>(type_of<Element>()));
          put(out, static_cast<uint64_t>(held.size()));
          if constexpr (std::is_arithmetic_v<Element> && !std::is_same_v<Element, bool>) {
            out.append(reinterpret_cast<const char*>(held.data()), held.size() * sizeof(Element));
          } else if constexpr (std::is_same_v<Element, bool>) {
            for (const bool flag : held) put(out, flag);
          } else {
            for (const Element& element : held) put(out, element);
          }
        } else {
          put(out, static_cast<uint32_t>(type_of<Element>()));
          put(out, held);
        }
      },
      value);
}

template <typename T>
std::vector<T> elements(const GgufArray& array) {
  std::vector<T> all(array.count);
  if (!all.empty()) std::memcpy(all.data(), array.bytes.data(), array.count * sizeof(T));
  return all;
}

GgufOwnValue own_array(const GgufArray& array) {
  switch (array.element) {
    case GgufType::u8:
      return elements<uint8_t>(array);
    case GgufType::i8:
      return elements<int8_t>(array);
    case GgufType::u16:
      return elements<uint16_t>(array);
    case GgufType::i16:
      return elements<int16_t>(array);
    case GgufType::u32:
      return elements<uint32_t>(array);
    case GgufType::i32:
      return elements<int32_t>(array);
    case GgufType::f32:
      return elements<float>(array);
    case GgufType::boolean: {
      std::vector<bool> flags;
      for (const std::byte flag : array.bytes) flags.push_back(flag != std::byte{0});
      return flags;
    }
    case GgufType::string:
      return std::vector<std::string>(array.strings.begin(), array.strings.end());
    case GgufType::u64:
      return elements<uint64_t>(array);
    case GgufType::i64:
      return elements<int64_t>(array);
    case GgufType::f64:
      return elements<double>(array);
    case GgufType::array:
      break;
  }
  throw Error(ErrorCode::unsupported, kOperation, "an array of arrays", "arrays of plain values");
}

// With what lies between them and behind the last, so that no offset overflows.
int64_t padded_total(const std::vector<GgufTensorSpec>& tensors) {
  int64_t total = 0;
  for (const GgufTensorSpec& tensor : tensors) {
    const int64_t bytes = tensor.bytes();
    if (__builtin_add_overflow(total, bytes, &total) || __builtin_add_overflow(total, kGgufAlignment, &total)) {
      throw Error(ErrorCode::usage, kOperation, "the tensors' sizes overflow", "at most 2^63 - 1 bytes");
    }
    total -= kGgufAlignment - (gguf_padded(bytes) - bytes);
  }
  return total;
}

void put_entries(std::string& header, const std::vector<GgufEntry>& entries) {
  std::unordered_set<std::string_view> keys;
  for (const GgufEntry& entry : entries) {
    if (entry.key.empty() || !keys.insert(entry.key).second) {
      throw Error(ErrorCode::usage, kOperation, fmt::format("metadata key {}", in_quotes(entry.key)),
                  "keys that are not empty and given once");
    }
    if (entry.key.size() > kMaxKey) {
      throw Error(ErrorCode::unsupported, kOperation, fmt::format("a metadata key of {} bytes", entry.key.size()),
                  fmt::format("at most {}", kMaxKey));
    }
    if (entry.key == "general.alignment" && entry.value != GgufOwnValue(static_cast<uint32_t>(kGgufAlignment))) {
      throw Error(ErrorCode::usage, kOperation, "general.alignment has another value",
                  fmt::format("{} as an u32", kGgufAlignment));
    }
    put(header, entry.key);
    put_value(header, entry.value);
  }
}

void put_tensors(std::string& header, const std::vector<GgufTensorSpec>& tensors) {
  std::unordered_set<std::string_view> names;
  int64_t offset = 0;
  padded_total(tensors);  // no overflow below
  for (const GgufTensorSpec& tensor : tensors) {
    if (tensor.name.empty() || !names.insert(tensor.name).second) {
      throw Error(ErrorCode::usage, kOperation, fmt::format("tensor name {}", in_quotes(tensor.name)),
                  "names that are not empty and given once");
    }
    if (tensor.name.size() > kMaxGgufName) {
      throw Error(ErrorCode::unsupported, kOperation, fmt::format("tensor name {}", in_quotes(tensor.name)),
                  fmt::format("at most {} bytes", kMaxGgufName));
    }
    if (tensor.shape.size() > kMaxGgufDimensions) {
      throw Error(ErrorCode::unsupported, kOperation,
                  fmt::format("tensor {} has {} dimensions", in_quotes(tensor.name), tensor.shape.size()),
                  fmt::format("at most {}", kMaxGgufDimensions));
    }
    const auto type = gguf_tensor_type(tensor.dtype);
    if (!type) {
      throw Error(ErrorCode::unsupported, kOperation,
                  fmt::format("tensor {} has dtype {}", in_quotes(tensor.name), dtype_name(tensor.dtype)),
                  "a dtype that GGUF has");
    }
    put(header, tensor.name);
    put(header, static_cast<uint32_t>(tensor.shape.size()));
    for (size_t d = tensor.shape.size(); d-- > 0;) put(header, static_cast<uint64_t>(tensor.shape[d]));
    put(header, *type);
    put(header, static_cast<uint64_t>(offset));
    offset += gguf_padded(tensor.bytes());
  }
}

}  // namespace

GgufEntry gguf_entry(std::string key, const GgufValue& value) {
  return {std::move(key), std::visit(
                              []<typename T>(const T& held) -> GgufOwnValue {
                                if constexpr (std::is_same_v<T, GgufArray>) {
                                  return own_array(held);
                                } else {
                                  return GgufOwnValue(std::in_place_type<T>, held);
                                }
                              },
                              value)};
}

int64_t GgufTensorSpec::bytes() const {
  int64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) {
      throw Error(ErrorCode::usage, kOperation, fmt::format("tensor {} has shape {}", in_quotes(name), shape),
                  "extents from 0 on whose product fits 63 bits");
    }
  }
  const int64_t block = dtype_block_elements(dtype), row = shape.empty() ? 1 : shape.back();
  if (row % block != 0) {
    throw Error(ErrorCode::usage, kOperation,
                fmt::format("tensor {} is {} with rows of {} elements", in_quotes(name), dtype_name(dtype), row),
                fmt::format("a multiple of {}", block));
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(count / block, dtype_block_bytes(dtype), &bytes)) {
    throw Error(ErrorCode::usage, kOperation, fmt::format("tensor {} has shape {}", in_quotes(name), shape),
                "at most 2^63 - 1 bytes");
  }
  return bytes;
}

std::string gguf_header(const std::vector<GgufEntry>& entries, const std::vector<GgufTensorSpec>& tensors) {
  std::string header = "GGUF";
  put(header, kVersion);
  put(header, static_cast<uint64_t>(tensors.size()));
  put(header, static_cast<uint64_t>(entries.size()));
  put_entries(header, entries);
  put_tensors(header, tensors);
  header.resize(static_cast<size_t>(gguf_padded(static_cast<int64_t>(header.size()))));
  return header;
}

int64_t gguf_file_bytes(const std::vector<GgufEntry>& entries, const std::vector<GgufTensorSpec>& tensors) {
  int64_t bytes = static_cast<int64_t>(gguf_header(entries, tensors).size());
  if (__builtin_add_overflow(bytes, padded_total(tensors), &bytes)) {
    throw Error(ErrorCode::usage, kOperation, "the tensors' sizes overflow", "at most 2^63 - 1 bytes");
  }
  return bytes;
}

GgufWriter::GgufWriter(std::filesystem::path path, const std::vector<GgufEntry>& entries,
                       std::vector<GgufTensorSpec> tensors)
    : path_(std::move(path)), tensors_(std::move(tensors)), file_(path_) {
  file_.write(gguf_header(entries, tensors_));
  for (const GgufTensorSpec& tensor : tensors_) total_ += tensor.bytes();
  pad_ended_tensors();
}

// Of tensors without bytes nothing is ever written.
void GgufWriter::pad_ended_tensors() {
  static constexpr std::array<std::byte, kGgufAlignment> zeros{};
  for (; current_ < tensors_.size(); ++current_, in_current_ = 0) {
    const int64_t bytes = tensors_[current_].bytes();
    if (in_current_ < bytes) return;
    file_.write(std::span(zeros).first(static_cast<size_t>(gguf_padded(bytes) - bytes)));
  }
}

void GgufWriter::write(std::span<const std::byte> bytes) {
  const auto left = static_cast<uint64_t>(total_ - written_);
  if (bytes.size() > left) {
    throw Error(ErrorCode::usage, "write " + path_.string(),
                fmt::format("{} bytes more than the tensors' {}", bytes.size() - left, total_));
  }
  while (!bytes.empty()) {
    const auto missing = static_cast<size_t>(tensors_[current_].bytes() - in_current_);
    const auto taken = bytes.first(std::min(missing, bytes.size()));
    file_.write(taken);
    written_ += static_cast<int64_t>(taken.size());
    in_current_ += static_cast<int64_t>(taken.size());
    bytes = bytes.subspan(taken.size());
    pad_ended_tensors();
  }
}

void GgufWriter::commit() {
  if (current_ < tensors_.size()) {
    const GgufTensorSpec& tensor = tensors_[current_];
    throw Error(ErrorCode::usage, "write " + path_.string(),
                fmt::format("tensor {} lacks {} bytes", in_quotes(tensor.name), tensor.bytes() - in_current_));
  }
  file_.commit();
}

}  // namespace mxq
