// A model as transformers and vLLM load it with its linear layers quantized: which architectures, and which tensors.
#pragma once

#include <string>
#include <vector>

#include "model/model_source.h"

namespace mxq {

/// Throws Error(unsupported), under `operation`, for a model whose linear layers are not all modules of their own in
/// both, or fused in its files already: mixtures, linear attention, a tower for images.
void check_transformers_model(const ModelSource& model, const std::string& operation);

/// All that the model reads but for a tied copy; `notes` get a sentence where others are left out. Throws
/// Error(unsupported), under `operation`, for an output matrix that config.json denies.
std::vector<const SourceTensor*> transformers_tensors(const ModelSource& model, const std::string& operation,
                                                      std::vector<std::string>& notes);

/// The model's config.json with the dtype of what is not quantized: DType::f16, bf16 or f32.
std::string transformers_config_json(const ModelSource& model, DType dtype);

}  // namespace mxq
