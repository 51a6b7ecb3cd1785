// A model as mlx-lm loads it: which of its tensors, and what its config.json has to say.
#pragma once

#include <string>
#include <vector>

#include "model/model_source.h"

namespace mxq {

/// The tensors that mlx-lm's class of the model's architecture has, under their `name`s; `notes` get a sentence where
/// others are left out. Throws Error(unsupported) naming what mlx-lm has no class for, or computes otherwise.
std::vector<const SourceTensor*> mlx_tensors(const ModelSource& model, std::vector<std::string>& notes);

/// config.json with all that mlx-lm reads of it: fields that transformers leaves out where they have the usual value
/// are there, for mlx-lm's usual values are others. Without "quantization". Throws as mlx_tensors().
std::string mlx_config_json(const ModelSource& model, DType dtype);

}  // namespace mxq
