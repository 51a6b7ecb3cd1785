// GGUF's blocks of 32 or 256 weights along the last dimension: what their bytes mean.
//
// All types are one thing: codes, small signed integers, in groups that share a scale, and for some types an offset.
// A weight is scale * code + offset in fp32, each operation rounded by itself, which is what the gguf package and ggml
// compute, bit for bit. Numbers are little-endian.
//
//   ggml_nibble_blocks-inl.h   Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, and IQ4_NL, IQ4_XS, MXFP4, whose 4 bits name a level
//   ggml_k_blocks-inl.h        Q2_K to Q6_K
//   ggml_grid_blocks-inl.h     IQ1_*, IQ2_* and IQ3_*, which name eight or four weights of a grid at once
//   ggml_ternary_blocks-inl.h  TQ1_0, TQ2_0
#pragma once

#include <cstddef>
#include <cstdint>

#include "mxq/tensor.h"

namespace mxq {

/// True for the types of this file.
bool is_ggml_block(DType dtype);

/// How the weights of such a type are coded.
struct GgmlCodes {
  int group = 32;               // neighbouring weights that share a scale; divides the block
  int low = 0, high = 0;        // the least and the largest code
  bool has_offsets = false;     // else all offsets are 0
  bool scales_are_f16 = false;  // a scale is an fp16 of the file; else a product, which fp16 may not hold
};
GgmlCodes ggml_codes(DType dtype);

/// Most weights in a block, and most groups.
inline constexpr int kGgmlBlock = 256, kGgmlGroups = 16;

/// The floats of `blocks` blocks. `dtype` must be one of these types.
void dequantize_ggml_blocks(DType dtype, const std::byte* bytes, int64_t blocks, float* out);

/// The codes of one block and the scales of its groups.
void unpack_ggml_block(DType dtype, const std::byte* bytes, int8_t* codes, float* scales);

}  // namespace mxq
