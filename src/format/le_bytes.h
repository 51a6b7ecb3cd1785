// Little-endian numbers in files.
#pragma once

#include <cstddef>
#include <type_traits>

namespace mxq {

/// The number whose sizeof(Int) bytes begin at `bytes`, at any alignment.
template <typename Int>
Int read_le(const std::byte* bytes) {
  using Unsigned = std::make_unsigned_t<Int>;
  Unsigned value = 0;
  for (size_t i = 0; i < sizeof(Int); ++i) {
    value = static_cast<Unsigned>(value | static_cast<Unsigned>(std::to_integer<Unsigned>(bytes[i]) << (8 * i)));
  }
  return static_cast<Int>(value);
}

}  // namespace mxq
