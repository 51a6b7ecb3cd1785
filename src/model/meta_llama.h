// Llama as Meta publishes it: consolidated.00.pth and params.json.
// Source: transformers' convert_llama_weights_to_hf.py and Meta's llama/model.py.
#pragma once

#include <string>
#include <string_view>

#include "model/torch_model.h"

namespace mxq {

/// The model under Hugging Face's names, with the config.json that stands for `params` and for the tensors' shapes.
/// Rows of q and k come in Hugging Face's order: Meta's rotary pairs are neighbours. Throws Error(unsupported) for
/// tensors and parameters of other models (vision, mixtures, quantized ones), Error(invalid_file) where the shapes
/// contradict the parameters or each other. `source` names params.json in errors.
TorchModel meta_llama(StoredModel files, std::string_view params, const std::string& source);

}  // namespace mxq
