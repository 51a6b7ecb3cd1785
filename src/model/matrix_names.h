// Which tensors of a model are weights of linear layers, by their names and shapes: one table for all architectures.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace mxq {

/// The matrices outside the layers as Llama names them: the rows that tokens become, and what the logits are made with.
inline constexpr std::string_view kEmbedding = "model.embed_tokens", kHead = "lm_head";

/// Linear layers of fewer rows or columns than this are left as they are, for they hold next to nothing; projections of
/// attention and MLP are planned whatever their size.
inline constexpr int64_t kLeastExtent = 16;

/// What a tensor is to a plan. All but `other` are weights that a plan could hold, and are counted where it does not.
enum class TensorRole {
  other,      // norms, biases, convolutions, tables of positions, states: no weight of a linear layer
  matrix,     // of a linear layer inside a stack of layers: planned
  embedding,  // a row for each token: planned where that is asked for
  head,       // what the logits are made with: likewise
  router,     // picks the experts of a token
  time_step,  // dt_proj of a state-space layer
  small,      // of another linear layer than those, of fewer than kLeastExtent rows or columns
  stack,      // matrices of all experts in one tensor of three dimensions or more
  unnamed,    // an expert's matrix whose name does not end in ".weight"
  tower,      // of a part that reads images or sound
  outside,    // of a linear layer outside all stacks of layers: a projector, a classifier
};

/// Where a plannable matrix sits: "0" and "self_attn.q_proj" of "model.layers.0.self_attn.q_proj.weight"; no layer and
/// "model.embed_tokens" of "model.embed_tokens.weight".
struct MatrixName {
  std::string layer, module;

  bool in_layer() const { return !layer.empty(); }
};

/// The name of a matrix inside a stack of layers or of an embedding or head, whatever stands before:
/// "model.layers.0.X", "language_model.model.layers.0.X", "transformer.h.0.X", "layers.0.X". nullopt for all other
/// names.
std::optional<MatrixName> parse_matrix_name(std::string_view tensor_name);

/// A layer's number: decimal digits; nullopt for anything else.
std::optional<int64_t> layer_number(std::string_view part);

/// By the rules of docs/reference/models.md.
TensorRole tensor_role(std::string_view tensor_name, std::span<const int64_t> shape);

/// What stands before the layer's number: "model.layers" of "model.layers.0.self_attn.q_proj.weight"; empty where the
/// name has no layer.
std::string_view stack_name(std::string_view tensor_name);

/// Whether it is of layers beside the text's that foretell more than one token: "mtp.layers.0.mlp.up_proj.weight".
bool is_multi_token(std::string_view tensor_name);

}  // namespace mxq
