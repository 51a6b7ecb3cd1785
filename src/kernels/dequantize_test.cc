// Dequantizing loops: every instruction set against the scalar reference.
#include "kernels/dequantize.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "every_exponent.h"
#include "simd_targets.h"

namespace mxq {
namespace {

class Dequantize : public EverySimdTarget {};

TEST_P(Dequantize, LoopsEqualTheReference) {
  std::mt19937 random(3);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const int group : {16, 32, 128}) {
      for (const int64_t n : {1, 15, 16, 17, 100, 128, 129, 1000}) {
        SCOPED_TRACE(testing::Message() << bits << " bits, groups of " << group << ", " << n << " codes, seed 3");
        // Exactly as long as the codes need, so that a sanitizer sees reads beyond.
        const int64_t length = (n * bits + 7) / 8;
        const auto stream = std::make_unique<uint8_t[]>(static_cast<size_t>(length));
        for (int64_t i = 0; i < length; ++i) stream[i] = static_cast<uint8_t>(random());
        std::vector<float> scales(static_cast<size_t>(n)), zeros(scales.size()), out(scales.size()), expected = out;
        for (float& x : scales) x = static_cast<float>(random() % 1000) * 1e-3f;
        for (float& x : zeros) x = static_cast<float>(random() % 1000) * 0.1f;
        dequantize_groups(stream.get(), length, bits, group, n, scales.data(), zeros.data(), out.data());
        ref::dequantize_groups(stream.get(), length, bits, group, n, scales.data(), zeros.data(), expected.data());
        ASSERT_EQ(out, expected);
        dequantize_biased(stream.get(), length, bits, group, n, scales.data(), zeros.data(), out.data());
        ref::dequantize_biased(stream.get(), length, bits, group, n, scales.data(), zeros.data(), expected.data());
        ASSERT_EQ(out, expected);
        if (bits <= 4) {
          std::vector<float> levels(size_t{1} << bits);
          for (float& x : levels) x = static_cast<float>(random() % 1000) * 0.1f - 50;
          dequantize_levels(stream.get(), length, bits, group, n, scales.data(), levels.data(), out.data());
          ref::dequantize_levels(stream.get(), length, bits, group, n, scales.data(), levels.data(), expected.data());
          ASSERT_EQ(out, expected);
        }
        if (length < n) continue;
        dequantize_elements(stream.get(), n, scales.data(), zeros.data(), out.data());
        ref::dequantize_elements(stream.get(), n, scales.data(), zeros.data(), expected.data());
        ASSERT_EQ(out, expected);
      }
    }
  }
}

void expect_same(const std::vector<float>& found, const std::vector<float>& expected) {
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(same_value(found[i], expected[i])) << found[i] << ", not " << expected[i] << ", at " << i;
  }
}

/// Whatever the scales, zeros and levels are, infinities and NaN included.
TEST_P(Dequantize, LoopsEqualTheReferenceOverTheWholeRange) {
  const auto all = every_float();
  constexpr int kGroup = 16;
  for (int64_t n = 1; n <= 3 * 16 + 3; ++n) {
    const auto size = static_cast<size_t>(n);
    std::vector<uint8_t> stream(size);
    for (size_t i = 0; i < size; ++i) stream[i] = static_cast<uint8_t>(i * 83 + size);
    for (size_t start = 0; start < all.size(); start += 499) {
      SCOPED_TRACE(testing::Message() << n << " codes, from float " << start);
      const auto scales = spread(all, start, size), zeros = spread(all, start * 3 + 1, size);
      std::vector<float> found(size), expected(size);
      dequantize_elements(stream.data(), n, scales.data(), zeros.data(), found.data());
      ref::dequantize_elements(stream.data(), n, scales.data(), zeros.data(), expected.data());
      expect_same(found, expected);
      for (const int bits : {2, 3, 4, 8}) {
        const int64_t length = (n * bits + 7) / 8;
        dequantize_groups(stream.data(), length, bits, kGroup, n, scales.data(), zeros.data(), found.data());
        ref::dequantize_groups(stream.data(), length, bits, kGroup, n, scales.data(), zeros.data(), expected.data());
        expect_same(found, expected);
        dequantize_biased(stream.data(), length, bits, kGroup, n, scales.data(), zeros.data(), found.data());
        ref::dequantize_biased(stream.data(), length, bits, kGroup, n, scales.data(), zeros.data(), expected.data());
        expect_same(found, expected);
        if (bits > 4) continue;
        const auto levels = spread(all, start + 7, size_t{1} << bits);
        dequantize_levels(stream.data(), length, bits, kGroup, n, scales.data(), levels.data(), found.data());
        ref::dequantize_levels(stream.data(), length, bits, kGroup, n, scales.data(), levels.data(), expected.data());
        expect_same(found, expected);
      }
      if (HasFatalFailure()) return;
    }
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(Dequantize);

}  // namespace
}  // namespace mxq
