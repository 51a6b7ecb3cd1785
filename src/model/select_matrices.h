// Which matrices of a model are to be quantized.
#pragma once

#include <optional>
#include <vector>

#include "model/model_source.h"
#include "mxq/coverage.h"
#include "mxq/matrix_selection.h"

namespace mxq {

/// In the model's order. Throws Error(usage) for a bad expression or one that finds nothing, Error(not_found) when
/// nothing is left.
std::vector<const SourceTensor*> select_matrices(const ModelSource& model, const MatrixSelection& selection);

/// Why a tensor of a role other than TensorRole::other is not planned, skip patterns aside; nullopt where it is.
std::optional<LeftReason> why_left(const ModelSource& model, const SourceTensor& tensor, bool embeddings);

/// The output matrix that a tied model's files hold beside the embedding, and the embedding of the same shape and
/// values. A checkpoint holds the embedding alone, and the other name beside it.
struct TiedCopy {
  const SourceTensor *copy = nullptr, *original = nullptr;
};
/// Nulls where there is none. Compares bytes where the files hold both.
TiedCopy find_tied_copy(const ModelSource& model);

}  // namespace mxq
