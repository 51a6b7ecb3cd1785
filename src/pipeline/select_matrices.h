// Which matrices of a model are to be quantized.
#pragma once

#include <vector>

#include "model/model_source.h"
#include "mxq/matrix_selection.h"

namespace mxq {

/// In the model's order. Throws Error(usage) for a bad expression or one that finds nothing, Error(not_found) when
/// nothing is left.
std::vector<const SourceTensor*> select_matrices(const ModelSource& model, const MatrixSelection& selection);

}  // namespace mxq
