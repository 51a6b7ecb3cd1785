#include "pipeline/select_matrices.h"

#include <fmt/format.h>

#include "base/pattern.h"
#include "mxq/error.h"

namespace mxq {

std::vector<const SourceTensor*> select_matrices(const ModelSource& model, const MatrixSelection& selection) {
  // Some files of tied models hold the embedding a second time under this name; nobody reads it.
  const bool unused_head = model.config() && model.config()->tie_word_embeddings;
  std::vector<const SourceTensor*> matrices;
  for (const auto& tensor : model.tensors()) {
    if (!tensor.matrix || (!tensor.matrix->in_layer() && !selection.embeddings)) continue;
    if (unused_head && tensor.matrix->module == kHead) continue;
    matrices.push_back(&tensor);
  }
  if (matrices.empty()) {
    throw Error(ErrorCode::not_found, "open model",
                fmt::format("{} tensors, none of them a projection of attention or MLP", model.tensors().size()),
                "matrices such as model.layers.0.self_attn.q_proj.weight");
  }
  for (const auto& pattern : selection.skip) {
    const Pattern expression("--skip", pattern);
    const auto found =
        std::erase_if(matrices, [&](const SourceTensor* tensor) { return expression.found_in(tensor->name); });
    if (found == 0) throw Error(ErrorCode::usage, "--skip", fmt::format("'{}' finds no matrix", pattern));
  }
  if (matrices.empty()) throw Error(ErrorCode::usage, "--skip", "no matrix is left to quantize");
  return matrices;
}

}  // namespace mxq
