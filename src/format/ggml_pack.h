// The bytes of GGUF's blocks from what they say: ggml_blocks.h the other way.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/ggml_blocks.h"
#include "mxq/tensor.h"

namespace mxq {

/// What one block says. A weight is
///   d * (code - zero)                              Q4_0, Q5_0, Q8_0; zero 8, 16, 128
///   d * code + m                                   Q4_1, Q5_1
///   d * scales[g] * code - m * mins[g]             Q2_K, Q4_K, Q5_K
///   d * scales[g] * (code - zero)                  Q3_K, Q6_K; zero 4, 32
///   d * level[code], d * scales[g] * level[code]   IQ4_NL, IQ4_XS; kIq4Levels
/// with g the group of ggml_codes().group weights that it belongs to.
struct GgmlBlock {
  uint16_t d = 0, m = 0;            // fp16
  int8_t scales[kGgmlGroups] = {};  // Q2_K 0 to 15; Q4_K, Q5_K 0 to 63; Q3_K, IQ4_XS -32 to 31; Q6_K any
  int8_t mins[kGgmlGroups] = {};    // Q2_K 0 to 15; Q4_K, Q5_K 0 to 63
  uint8_t codes[kGgmlBlock] = {};   // 0 to the type's largest code
};

/// What the 4 bits of IQ4_NL and IQ4_XS stand for, ascending.
inline constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/// True for the types above.
bool can_pack_ggml(DType dtype);

/// dtype_block_bytes(dtype) bytes. can_pack_ggml(dtype), and everything within its range.
void pack_ggml_block(DType dtype, const GgmlBlock& block, std::byte* bytes);

}  // namespace mxq
