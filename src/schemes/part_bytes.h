// Values in the bytes of a part, which may lie at any address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace mxq {

template <typename Value>
Value get_value(std::span<const std::byte> bytes, int64_t index) {
  Value value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

template <typename Value>
void put_value(std::span<std::byte> bytes, int64_t index, Value value) {
  std::memcpy(bytes.data() + index * static_cast<int64_t>(sizeof value), &value, sizeof value);
}

/// Parts are padded to whole words, so that what is stored after them is aligned.
inline int64_t padded_to_words(int64_t bytes) {
  constexpr int64_t kWord = 4;
  return (bytes + kWord - 1) / kWord * kWord;
}

}  // namespace mxq
