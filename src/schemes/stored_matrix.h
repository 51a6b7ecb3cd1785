// A quantized matrix as it lies in a checkpoint: a few tensors, named after the matrix.
#pragma once

#include <string>
#include <vector>

#include "format/hf_config.h"
#include "format/safetensors_writer.h"
#include "format/tensor_store.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

/// The tensors of the matrix `name`, as layout.parts() lists them: NAME.codes and so on.
std::vector<TensorSpec> stored_specs(const std::string& name, const QuantizedLayout& layout);

/// What an entry of the quantization config says. Throws Error(invalid_file) for an unknown scheme or metadata,
/// and for a scheme that exists in no such form.
QuantizedLayout stored_layout(const QuantizationConfig& config, const QuantizationConfig::Matrix& matrix);

/// The matrix in an opened checkpoint. Throws Error(invalid_file) naming the tensor that is missing or has another
/// dtype or length than the layout asks for.
QuantizedView stored_view(const std::string& name, const QuantizedLayout& layout, const TensorStore& store);

/// That all its floats (scales, steps, zeros, levels, ...) are numbers; codes are, whatever their bits. Throws
/// Error(not_finite) naming the first tensor and element that is none.
void check_numbers(const std::string& name, const QuantizedView& matrix);

}  // namespace mxq
