// Hashes that tell contents apart (not for security).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mxq {

/// XXH3, 128 bits, streamed; hex() may be called once all is added.
class ContentHash {
 public:
  ContentHash();
  ~ContentHash();
  ContentHash(const ContentHash&) = delete;
  ContentHash& operator=(const ContentHash&) = delete;

  void add(std::span<const std::byte> bytes);
  void add(std::string_view text);
  /// 32 hexadecimal digits.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// XXH3, 64 bits: tells bytes that are damaged, or that were another seed's.
uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed);

}  // namespace mxq
