#include "format/ggml_blocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "format/weights.h"
#include "simd_targets.h"

namespace mxq {
namespace {

constexpr DType kFirstBlock = DType::q4_0, kLastBlock = DType::mxfp4;

std::vector<DType> block_types() {
  std::vector<DType> types;
  for (int i = static_cast<int>(kFirstBlock); i <= static_cast<int>(kLastBlock); ++i) {
    types.push_back(static_cast<DType>(i));
  }
  return types;
}

/// Blocks and their weights as the gguf package has them (testdata/make_ggml_blocks.py).
struct Golden {
  std::vector<std::byte> bytes;
  int64_t blocks = 0;
  std::vector<float> weights;
};

std::map<std::string, Golden> read_golden() {
  const MappedFile file(std::filesystem::path(MXQ_SOURCE_DIR) / "src/format/testdata/ggml_blocks.bin");
  std::span<const std::byte> left = file.bytes();
  const auto take = [&](void* out, size_t bytes) {
    std::memcpy(out, left.data(), bytes);
    left = left.subspan(bytes);
  };
  std::map<std::string, Golden> all;
  while (!left.empty()) {
    char name[9] = {};
    uint32_t blocks = 0;
    take(name, 8);
    take(&blocks, 4);
    const auto types = block_types();
    const auto type = std::find_if(types.begin(), types.end(), [&](DType t) { return dtype_name(t) == name; });
    if (type == types.end()) {
      ADD_FAILURE() << name;
      break;
    }
    Golden& golden = all[name];
    golden.blocks = blocks;
    golden.bytes.resize(static_cast<size_t>(blocks * dtype_block_bytes(*type)));
    golden.weights.resize(static_cast<size_t>(blocks * dtype_block_elements(*type)));
    take(golden.bytes.data(), golden.bytes.size());
    take(golden.weights.data(), golden.weights.size() * sizeof(float));
  }
  return all;
}

bool same_bits(const float* a, const float* b, size_t count) {
  return std::memcmp(a, b, count * sizeof(float)) == 0;
}

class GgmlBlocks : public EverySimdTarget {};

TEST_P(GgmlBlocks, AreWhatTheGgufPackageReads) {
  const auto all = read_golden();
  for (const DType dtype : block_types()) {
    SCOPED_TRACE(dtype_name(dtype));
    ASSERT_TRUE(all.contains(std::string(dtype_name(dtype))));
    const Golden& golden = all.at(std::string(dtype_name(dtype)));
    // Exactly as long as the blocks are, so that a sanitizer sees reads and writes beyond.
    const size_t bytes = golden.bytes.size(), count = golden.weights.size();
    const auto blocks = std::make_unique<std::byte[]>(bytes);
    std::copy(golden.bytes.begin(), golden.bytes.end(), blocks.get());
    const auto out = std::make_unique<float[]>(count);
    dequantize_ggml_blocks(dtype, blocks.get(), golden.blocks, out.get());
    for (size_t i = 0; i < count; ++i) {
      ASSERT_TRUE(same_bits(&out[i], &golden.weights[i], 1)) << i << ": " << out[i] << ", not " << golden.weights[i];
    }
    // A part of a tensor is the same as all of it.
    const int64_t size = dtype_block_elements(dtype);
    const TensorView view{"w", dtype, {golden.blocks, size}, {blocks.get(), bytes}};
    read_f32(view, size, size * (golden.blocks - 1), out.get());
    EXPECT_TRUE(same_bits(out.get(), golden.weights.data() + size, count - static_cast<size_t>(size)));
  }
}

MXQ_FOR_EVERY_SIMD_TARGET(GgmlBlocks);

TEST(GgmlCodes, TimesTheirScaleAreTheWeights) {
  const auto all = read_golden();
  for (const DType dtype : block_types()) {
    SCOPED_TRACE(dtype_name(dtype));
    ASSERT_TRUE(is_ggml_block(dtype));
    const GgmlCodes facts = ggml_codes(dtype);
    const Golden& golden = all.at(std::string(dtype_name(dtype)));
    const int64_t size = dtype_block_elements(dtype);
    ASSERT_EQ(size % facts.group, 0);
    ASSERT_LE(size, kGgmlBlock);
    ASSERT_LE(size / facts.group, kGgmlGroups);
    for (int64_t b = 0; b < golden.blocks; ++b) {
      int8_t codes[kGgmlBlock];
      float scales[kGgmlGroups];
      unpack_ggml_block(dtype, golden.bytes.data() + b * dtype_block_bytes(dtype), codes, scales);
      for (int64_t i = 0; i < size; ++i) {
        ASSERT_GE(codes[i], facts.low);
        ASSERT_LE(codes[i], facts.high);
        if (facts.has_offsets) continue;
        const float weight = scales[i / facts.group] * static_cast<float>(codes[i]);
        ASSERT_TRUE(same_bits(&weight, &golden.weights[static_cast<size_t>(b * size + i)], 1)) << b << " " << i;
      }
    }
  }
  for (const DType dtype : {DType::f64, DType::f16, DType::i8, DType::boolean}) EXPECT_FALSE(is_ggml_block(dtype));
}

}  // namespace
}  // namespace mxq
