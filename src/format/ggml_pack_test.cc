// Blocks that are packed say what they were packed from, as the reading side (which equals the gguf package) has it.
#include "format/ggml_pack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/half.h"

namespace mxq {
namespace {

struct Range {
  DType dtype;
  int most_code, zero, least_scale, most_scale, most_min;  // most_scale 0: none a group
};

constexpr Range kRanges[] = {
    {DType::q4_0, 15, 8, 0, 0, 0},       {DType::q4_1, 15, 0, 0, 0, 0},    {DType::q5_0, 31, 16, 0, 0, 0},
    {DType::q5_1, 31, 0, 0, 0, 0},       {DType::q8_0, 255, 128, 0, 0, 0}, {DType::q2_k, 3, 0, 0, 15, 15},
    {DType::q3_k, 7, 4, -32, 31, 0},     {DType::q4_k, 15, 0, 0, 63, 63},  {DType::q5_k, 31, 0, 0, 63, 63},
    {DType::q6_k, 63, 32, -128, 127, 0}, {DType::iq4_nl, 15, -1, 0, 0, 0}, {DType::iq4_xs, 15, -1, -32, 31, 0},
};

TEST(PackedBlocks, SayWhatTheyWerePackedFrom) {
  std::mt19937 random(17);
  const auto any = [&](int least, int most) {
    return least + static_cast<int>(random() % static_cast<unsigned>(most - least + 1));
  };
  for (const Range& range : kRanges) {
    SCOPED_TRACE(dtype_name(range.dtype));
    ASSERT_TRUE(can_pack_ggml(range.dtype));
    const auto weights = dtype_block_elements(range.dtype);
    const int group = ggml_codes(range.dtype).group;
    for (int trial = 0; trial < 50; ++trial) {
      GgmlBlock block;
      block.d = f16_from_f32(static_cast<float>(any(-900, 900)) / 1024);
      block.m = f16_from_f32(static_cast<float>(any(-900, 900)) / 1024);
      for (int g = 0; g < weights / group; ++g) {
        if (range.most_scale > 0) block.scales[g] = static_cast<int8_t>(any(range.least_scale, range.most_scale));
        if (range.most_min > 0) block.mins[g] = static_cast<int8_t>(any(0, range.most_min));
      }
      for (int64_t i = 0; i < weights; ++i) block.codes[i] = static_cast<uint8_t>(any(0, range.most_code));
      std::vector<std::byte> bytes(static_cast<size_t>(dtype_block_bytes(range.dtype)), std::byte{0xa5});
      pack_ggml_block(range.dtype, block, bytes.data());
      std::vector<float> found(static_cast<size_t>(weights));
      dequantize_ggml_blocks(range.dtype, bytes.data(), 1, found.data());
      const float d = f32_from_f16(block.d), m = f32_from_f16(block.m);
      for (int64_t i = 0; i < weights; ++i) {
        const auto g = i / group;
        const float scale = range.most_scale > 0 ? d * static_cast<float>(block.scales[g]) : d;
        const float offset = range.dtype == DType::q4_1 || range.dtype == DType::q5_1 ? m
                             : range.most_min > 0 ? -(m * static_cast<float>(block.mins[g]))
                                                  : 0.0f;
        const int code = block.codes[i];
        const int level = range.zero < 0 ? kIq4Levels[code] : code - range.zero;
        ASSERT_EQ(found[static_cast<size_t>(i)], scale * static_cast<float>(level) + offset) << i;
      }
    }
  }
}

}  // namespace
}  // namespace mxq
