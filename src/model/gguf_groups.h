// GGUF's blocks as groups of affine schemes, which a checkpoint can hold without loss.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "mxq/quantized_matrix.h"
#include "mxq/tensor.h"

namespace mxq {

/// The layout in which dequantizing gives the very values of a rows x cols matrix of such blocks, in fewer bytes than
/// fp16 takes: for all types without offsets, (code - zero) * scale with fp16 metadata where the scale is an fp16 of
/// the file, and fp32 metadata where it is a product. nullopt for types with offsets (Q4_1, Q5_1, Q2_K, Q4_K, Q5_K),
/// whose scale * code + offset rounds twice, and for dtypes that are no blocks.
std::optional<QuantizedLayout> exact_ggml_layout(DType dtype, int64_t rows, int64_t cols);

/// The matrix in that layout. `blocks` are its bytes, as many as rows and cols say.
QuantizedMatrix exact_ggml_groups(DType dtype, const QuantizedLayout& layout, std::span<const std::byte> blocks);

}  // namespace mxq
