// Stacks of experts written as transformers loads them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "export/model_folder.h"
#include "model/expert_stacks.h"

namespace mxq {

/// A stack in `dtype`, or where there is none in the dtype that all its tensors have in an HF checkpoint, F32 where
/// they differ. In memory: the matrices of one expert, twice. Writing throws Error(not_finite) for what is not, and
/// Error(unsupported) where the dtype would make a value infinite; of values that it makes 0, `notes` get a sentence.
/// The model and `notes` must outlive it.
OutputTensors stack_output(const ModelSource& model, const RestoredStack& stack, std::optional<DType> dtype,
                           std::vector<std::string>& notes);

}  // namespace mxq
