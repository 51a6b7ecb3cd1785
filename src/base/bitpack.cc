#include "base/bitpack.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "mxq/error.h"

namespace mxq {

static_assert(std::endian::native == std::endian::little, "bit streams are read as little-endian words");

namespace {

/// Eight codes are a whole number of bytes (`bits` of them), so they go through one 64-bit word.
template <int bits>
void pack_eights(const uint8_t* codes, int64_t eights, std::byte* out) {
  constexpr uint64_t mask = (1u << bits) - 1;
  for (int64_t e = 0; e < eights; ++e, codes += 8, out += bits) {
    uint64_t word = 0;
    for (int i = 0; i < 8; ++i) word |= (codes[i] & mask) << (bits * i);
    std::memcpy(out, &word, bits);
  }
}

template <int bits>
void unpack_eights(const std::byte* in, int64_t eights, uint8_t* out) {
  constexpr uint64_t mask = (1u << bits) - 1;
  for (int64_t e = 0; e < eights; ++e, in += bits, out += 8) {
    uint64_t word = 0;
    std::memcpy(&word, in, bits);
    for (int i = 0; i < 8; ++i) out[i] = static_cast<uint8_t>((word >> (bits * i)) & mask);
  }
}

/// Calls body.operator()<bits>() for the run-time value.
template <typename Body>
void with_bits(int bits, Body&& body) {
  switch (bits) {
    case 1:
      return body.template operator()<1>();
    case 2:
      return body.template operator()<2>();
    case 3:
      return body.template operator()<3>();
    case 4:
      return body.template operator()<4>();
    case 5:
      return body.template operator()<5>();
    case 6:
      return body.template operator()<6>();
    case 7:
      return body.template operator()<7>();
    case 8:
      return body.template operator()<8>();
    default:
      throw Error(ErrorCode::unsupported, "pack codes", fmt::format("{} bits a code", bits), "1 to 8 bits");
  }
}

uint8_t one_code(const std::byte* stream, int bits, int64_t index) {
  const int64_t bit = index * bits;
  const int shift = static_cast<int>(bit & 7);
  unsigned word = std::to_integer<unsigned>(stream[bit >> 3]);
  if (shift + bits > 8) word |= std::to_integer<unsigned>(stream[(bit >> 3) + 1]) << 8;
  return static_cast<uint8_t>((word >> shift) & ((1u << bits) - 1));
}

}  // namespace

void pack_codes(const uint8_t* codes, int64_t n, int bits, std::byte* out) {
  with_bits(bits, [&]<int b>() { pack_eights<b>(codes, n / 8, out); });
  const int64_t rest = n % 8;
  if (rest == 0) return;
  uint64_t word = 0;
  for (int64_t i = 0; i < rest; ++i) {
    word |= (uint64_t{codes[n - rest + i]} & ((1u << bits) - 1)) << (bits * i);
  }
  std::memcpy(out + (n / 8) * bits, &word, static_cast<size_t>((rest * bits + 7) / 8));
}

void unpack_codes(std::span<const std::byte> stream, int bits, int64_t first, int64_t n, uint8_t* out) {
  if (n <= 0) return;
  const auto length = static_cast<int64_t>(stream.size());
  // 8 * length / bits codes are there; compared so that nothing overflows.
  if (bits < 1 || bits > 8 || first < 0 || first > length * 8 / bits || n > length * 8 / bits - first) {
    throw Error(ErrorCode::invalid_file, "unpack codes",
                fmt::format("{} codes from {} on, of {} bits, in {} bytes", n, first, bits, length));
  }
  for (; n > 0 && first % 8 != 0; ++first, --n) *out++ = one_code(stream.data(), bits, first);
  with_bits(bits, [&]<int b>() { unpack_eights<b>(stream.data() + first / 8 * b, n / 8, out); });
  for (int64_t i = n / 8 * 8; i < n; ++i) out[i] = one_code(stream.data(), bits, first + i);
}

}  // namespace mxq
