#include "model/select_matrices.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/mapped_file.h"
#include "base/pattern.h"
#include "model/matrix_names.h"
#include "model/model_state.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

/// Multi-token heads and the like stand behind the layers that the configuration counts, or beside them.
bool is_beyond(const ModelSource& model, const SourceTensor& tensor) {
  if (is_multi_token(tensor.name)) return true;
  const std::string_view stack = stack_name(tensor.name);
  if (!model.config() || model.config()->num_hidden_layers == 0 || !stack.ends_with("model.layers")) return false;
  const auto name = parse_matrix_name(tensor.name);  // tensor.matrix is not set where the model is run
  return name && parse_int(name->layer).value_or(0) >= model.config()->num_hidden_layers;
}

bool equal_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  constexpr size_t kPiece = 1 << 24;  // each let go at once
  if (a.size() != b.size()) return false;
  for (size_t at = 0; at < a.size(); at += kPiece) {
    const size_t count = std::min(kPiece, a.size() - at);
    const bool equal = std::equal(a.begin() + at, a.begin() + at + count, b.begin() + at);
    advise_done(a.subspan(at, count));
    advise_done(b.subspan(at, count));
    if (!equal) return false;
  }
  return true;
}

}  // namespace

std::optional<LeftReason> why_left(const ModelSource& model, const SourceTensor& tensor, bool embeddings) {
  switch (tensor.role) {
    case TensorRole::router:
      return LeftReason::router;
    case TensorRole::time_step:
      return LeftReason::time_step;
    case TensorRole::small:
      return LeftReason::small;
    case TensorRole::stack:
      return LeftReason::stack;
    case TensorRole::unnamed:
      return LeftReason::unnamed;
    case TensorRole::tower:
      return LeftReason::tower;
    case TensorRole::outside:
      return LeftReason::outside;
    default:
      break;
  }
  if (tensor.role == TensorRole::matrix && is_beyond(model, tensor)) return LeftReason::beyond;
  if (!tensor.matrix) return LeftReason::dtype;
  if (tensor.role == TensorRole::matrix) return std::nullopt;
  // Nobody reads the output matrix of a tied model.
  if (tensor.role == TensorRole::head && model.config() && model.config()->tie_word_embeddings) {
    return LeftReason::unused_head;
  }
  return embeddings ? std::nullopt : std::optional(LeftReason::embeddings);
}

std::vector<const SourceTensor*> select_matrices(const ModelSource& model, const MatrixSelection& selection) {
  std::vector<const SourceTensor*> matrices;
  for (const auto& tensor : model.tensors()) {
    if (tensor.matrix && !why_left(model, tensor, selection.embeddings)) matrices.push_back(&tensor);
  }
  if (matrices.empty()) {
    throw Error(
        ErrorCode::not_found, "open model",
        fmt::format("{} tensors, none of them a matrix of a linear layer in a stack of layers", model.tensors().size()),
        "matrices such as model.layers.0.self_attn.q_proj.weight");
  }
  for (const auto& pattern : selection.skip) {
    const Pattern expression("skip", pattern);
    const auto found =
        std::erase_if(matrices, [&](const SourceTensor* tensor) { return expression.found_in(tensor->name); });
    if (found == 0) throw Error(ErrorCode::usage, "skip", fmt::format("'{}' finds no matrix", pattern));
  }
  if (matrices.empty()) throw Error(ErrorCode::usage, "skip", "no matrix is left to quantize");
  return matrices;
}

TiedCopy find_tied_copy(const ModelSource& model) {
  if (!model.config() || !model.config()->tie_word_embeddings) return {};
  for (const auto& head : model.tensors()) {
    if (head.role != TensorRole::head) continue;
    if (const SourceTensor* original = model.copy_of(head)) return {&head, original};
    const auto bytes = model.plain_bytes(head);
    for (const auto& embedding : model.tensors()) {
      if (embedding.role != TensorRole::embedding || embedding.shape != head.shape || embedding.dtype != head.dtype) {
        continue;
      }
      const auto others = model.plain_bytes(embedding);
      if (bytes && others && equal_bytes(*bytes, *others)) return {&head, &embedding};
    }
  }
  return {};
}

}  // namespace mxq
