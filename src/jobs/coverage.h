// What of an opened model is planned.
#pragma once

#include <vector>

#include "model/model_source.h"
#include "mxq/coverage.h"

namespace mxq {

/// `matrices` are planned; `embeddings`: what is outside the layers was to be planned too.
Coverage coverage_of(const ModelSource& model, const std::vector<const SourceTensor*>& matrices, bool embeddings);

}  // namespace mxq
