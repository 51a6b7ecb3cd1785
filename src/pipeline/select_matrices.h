// Which matrices of a model are to be quantized.
#pragma once

#include <string>
#include <vector>

#include "model/model_source.h"

namespace mxq {

/// The plannable matrices of the model that no expression of `skip` (ECMAScript, searched) finds, in the model's order.
/// Throws Error(usage) for a bad expression or one that finds nothing, Error(not_found) when nothing is left.
std::vector<const SourceTensor*> select_matrices(const ModelSource& model, const std::vector<std::string>& skip);

}  // namespace mxq
