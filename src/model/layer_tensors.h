// The tensors of one layer of a model, by name: what its architecture says, each expert's by its number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace mxq {

/// Rows that matrices of a layer multiply: of all tokens, or of those that one expert is given.
struct InputPlace {
  LayerInput input;
  int64_t expert = 0;  // of LayerInput::routed and routed_gated

  auto operator<=>(const InputPlace&) const = default;
};

/// A tensor of a layer.
struct NamedTensor {
  const LayerTensor* tensor;
  int64_t expert = 0;
  std::string hf;  // behind "model.layers.N.", without ".weight": "mlp.experts.3.up_proj"

  bool is_matrix() const { return tensor->input.has_value(); }
  /// Of a matrix.
  InputPlace input() const { return {*tensor->input, expert}; }
};

/// As safetensors have it: a convolution's has a channel in between.
std::vector<int64_t> tensor_shape(const ModelConfig& config, const LayerTensor& tensor);

// The model's architecture must be one of architectures(), and the layer one of its layers.

/// In the order in which runtimes list them.
std::vector<NamedTensor> layer_tensors(const ModelConfig& config, int64_t layer);
/// nullopt where the layer has none of that name.
std::optional<NamedTensor> find_layer_tensor(const ModelConfig& config, int64_t layer, std::string_view hf);
/// The matrices that multiply an input: "self_attn.q_proj", ...
std::vector<std::string> modules_of(const ModelConfig& config, int64_t layer, const InputPlace& place);
/// The name of a part; empty where the layer has none.
std::string module_of(const ModelConfig& config, int64_t layer, LayerPart part, int64_t expert = 0);
/// The inputs of a layer, in the order in which they come about.
std::vector<InputPlace> inputs_of(const ModelConfig& config, int64_t layer);

/// Weights of a layer's matrices that a token is multiplied with, and of all of them.
struct LayerWeights {
  int64_t used = 0, all = 0;
};
LayerWeights layer_weights(const ModelConfig& config, int64_t layer);

}  // namespace mxq
