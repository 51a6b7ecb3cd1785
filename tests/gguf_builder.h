// Builds GGUF files in memory for tests: valid ones, and invalid ones through the raw hooks.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mxq {

/// Appends little-endian values to a byte string.
struct GgufBytes {
  std::string bytes;

  template <typename T>
  GgufBytes& number(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  GgufBytes& string(std::string_view text) {
    number<uint64_t>(text.size());
    bytes.append(text);
    return *this;
  }
};

class GgufBuilder {
 public:
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::string magic = "GGUF";
  /// Added to what the header says, to lie about it.
  uint64_t extra_tensors = 0, extra_entries = 0;

  /// An entry whose value's type and bytes are given.
  GgufBuilder& raw(std::string_view key, uint32_t type, const GgufBytes& value) {
    entries_.string(key).number(type).bytes += value.bytes;
    ++entry_count_;
    return *this;
  }
  GgufBuilder& u32(std::string_view key, uint32_t value) { return raw(key, 4, GgufBytes().number(value)); }
  GgufBuilder& f32(std::string_view key, float value) { return raw(key, 6, GgufBytes().number(value)); }
  GgufBuilder& boolean(std::string_view key, bool value) {
    return raw(key, 7, GgufBytes().number<uint8_t>(value ? 1 : 0));
  }
  GgufBuilder& string(std::string_view key, std::string_view value) { return raw(key, 8, GgufBytes().string(value)); }
  GgufBuilder& strings(std::string_view key, const std::vector<std::string>& values) {
    GgufBytes array;
    array.number<uint32_t>(8).number<uint64_t>(values.size());
    for (const auto& value : values) array.string(value);
    return raw(key, 9, array);
  }
  template <typename T>
  GgufBuilder& numbers(std::string_view key, uint32_t element, const std::vector<T>& values) {
    GgufBytes array;
    array.number(element).template number<uint64_t>(values.size());
    for (T value : values) array.number(value);
    return raw(key, 9, array);
  }

  /// A tensor with its bytes; `shape` is row-major. `type` is ggml's number.
  GgufBuilder& tensor(std::string_view name, uint32_t type, const std::vector<uint64_t>& shape,
                      std::string_view bytes) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    tensor_info(name, type, shape, data_.size());
    data_ += bytes;
    return *this;
  }
  GgufBuilder& f32_tensor(std::string_view name, const std::vector<uint64_t>& shape, const std::vector<float>& values) {
    return tensor(name, 0, shape, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }
  /// Only the entry in the table.
  GgufBuilder& tensor_info(std::string_view name, uint32_t type, const std::vector<uint64_t>& shape, uint64_t offset) {
    tensors_.string(name).number<uint32_t>(static_cast<uint32_t>(shape.size()));
    for (size_t d = shape.size(); d-- > 0;) tensors_.number<uint64_t>(shape[d]);
    tensors_.number(type).number(offset);
    ++tensor_count_;
    return *this;
  }

  /// Bytes before the data begins, padding included.
  size_t header_size() const {
    const size_t unpadded = 24 + entries_.bytes.size() + tensors_.bytes.size();
    return (unpadded + alignment - 1) / alignment * alignment;
  }

  std::string build() const {
    GgufBytes file;
    file.bytes = magic;
    file.number(version).number(tensor_count_ + extra_tensors).number(entry_count_ + extra_entries);
    file.bytes += entries_.bytes + tensors_.bytes;
    file.bytes.resize(header_size());
    return file.bytes + data_;
  }
  void write(const std::filesystem::path& path) const {
    const std::string file = build();
    std::ofstream(path, std::ios::binary).write(file.data(), static_cast<std::streamsize>(file.size()));
  }

 private:
  GgufBytes entries_, tensors_;
  std::string data_;
  uint64_t entry_count_ = 0, tensor_count_ = 0;
};

}  // namespace mxq
