// Dequantizing loops: every instruction set against the scalar reference.
#include "kernels/dequantize.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

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

MXQ_FOR_EVERY_SIMD_TARGET(Dequantize);

}  // namespace
}  // namespace mxq
