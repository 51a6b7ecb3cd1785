// A quantized matrix as it lies in a checkpoint: a few tensors, named after the matrix.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "format/hf_config.h"
#include "format/safetensors_writer.h"
#include "format/tensor_store.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

/// The tensors of the matrix `name`, in the order in which they are written: NAME.codes, NAME.scale_steps,
/// NAME.zero_steps, NAME.scales, NAME.zeros, NAME.column_scales, as far as the layout has them.
/// In this order every tensor starts at a multiple of its element's size if the first one does.
std::vector<TensorSpec> stored_specs(const std::string& name, const QuantizedLayout& layout);

/// The bytes of those tensors, in the same order.
std::vector<std::span<const std::byte>> stored_parts(const QuantizedView& matrix);

/// What an entry of the quantization config says. Throws Error(invalid_file) for an unknown scheme or metadata.
QuantizedLayout stored_layout(const QuantizationConfig& config, const QuantizationConfig::Matrix& matrix);

/// The matrix in an opened checkpoint. Throws Error(invalid_file) naming the tensor that is missing or has another
/// dtype or length than the layout asks for.
QuantizedView stored_view(const std::string& name, const QuantizedLayout& layout, const TensorStore& store);

}  // namespace mxq
