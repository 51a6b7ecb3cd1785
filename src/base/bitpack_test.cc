#include "base/bitpack.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "mxq/error.h"

namespace mxq {
namespace {

/// The definition, bit by bit.
std::vector<std::byte> pack_by_definition(const std::vector<uint8_t>& codes, int bits) {
  std::vector<std::byte> out((codes.size() * bits + 7) / 8);
  for (size_t i = 0; i < codes.size(); ++i) {
    for (int k = 0; k < bits; ++k) {
      const size_t bit = bits * i + k;
      if ((codes[i] >> k) & 1) out[bit / 8] |= std::byte(1 << (bit % 8));
    }
  }
  return out;
}

TEST(Bitpack, FollowsTheDefinitionForEveryWidthAndLength) {
  std::mt19937 random(1);
  for (int bits = 1; bits <= 8; ++bits) {
    for (int n : {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000}) {
      SCOPED_TRACE(testing::Message() << bits << " bits, " << n << " codes, seed 1");
      std::vector<uint8_t> codes(n);
      for (auto& code : codes) code = static_cast<uint8_t>(random() & ((1u << bits) - 1));
      std::vector<std::byte> packed(packed_bytes(n, bits));
      pack_codes(codes.data(), n, bits, packed.data());
      ASSERT_EQ(packed, pack_by_definition(codes, bits));
      for (int first : {0, 1, 5, 8, 13}) {
        if (first > n) continue;
        std::vector<uint8_t> back(n - first);
        unpack_codes(packed, bits, first, n - first, back.data());
        EXPECT_EQ(back, std::vector<uint8_t>(codes.begin() + first, codes.end())) << "from " << first;
      }
    }
  }
}

TEST(Bitpack, DropsHigherBitsOfACode) {
  const std::vector<uint8_t> codes = {0xff, 0x04, 0xff, 0x08, 0, 0, 0, 0, 0xf0};
  std::vector<std::byte> packed(packed_bytes(9, 2));
  pack_codes(codes.data(), 9, 2, packed.data());
  EXPECT_EQ(packed, (std::vector<std::byte>{std::byte{0x33}, std::byte{0}, std::byte{0}}));
}

TEST(Bitpack, RefusesToReadBeyondTheStream) {
  std::vector<std::byte> stream(3);  // eight 3-bit codes
  std::vector<uint8_t> out(16);
  EXPECT_NO_THROW(unpack_codes(stream, 3, 0, 8, out.data()));
  EXPECT_THROW(unpack_codes(stream, 3, 0, 9, out.data()), Error);
  EXPECT_THROW(unpack_codes(stream, 3, 8, 1, out.data()), Error);
  EXPECT_THROW(unpack_codes(stream, 3, -1, 1, out.data()), Error);
  EXPECT_THROW(unpack_codes(stream, 9, 0, 1, out.data()), Error);
  EXPECT_THROW(unpack_codes(stream, 3, INT64_MAX, INT64_MAX, out.data()), Error);
}

}  // namespace
}  // namespace mxq
