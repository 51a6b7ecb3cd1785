// Dense bit streams of small integers: element i occupies bits [b*i, b*i + b), least significant bit first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mxq {

/// Bytes that hold `n` codes of `bits` bits; the unused bits of the last byte are zero.
constexpr int64_t packed_bytes(int64_t n, int bits) {
  return (n / 8) * bits + ((n % 8) * bits + 7) / 8;
}

/// Packs codes[0, n) of `bits` in 1..8 into packed_bytes(n, bits) bytes. Higher bits of a code are dropped.
void pack_codes(const uint8_t* codes, int64_t n, int bits, std::byte* out);

/// Unpacks the codes [first, first + n) of a stream. Throws Error(invalid_file) where the stream is too short for
/// them; reads nothing beyond it.
void unpack_codes(std::span<const std::byte> stream, int bits, int64_t first, int64_t n, uint8_t* out);

}  // namespace mxq
