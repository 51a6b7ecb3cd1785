// Which of a model's tensors a plan file is about.
#pragma once

#include <unordered_map>

#include "model/model_source.h"
#include "mxq/plan_file.h"
#include "mxq/scheme.h"

namespace mxq {

/// The model's tensors that the plan names. Throws Error(usage) where the plan was made for another model.
std::unordered_map<const SourceTensor*, Scheme> match_plan(const ModelSource& model, const PlanFile& file);

}  // namespace mxq
