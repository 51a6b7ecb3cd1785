#include "model/layer_tensors.h"

#include <algorithm>
#include <set>

#include "model/matrix_names.h"

namespace mxq {

namespace {

constexpr std::string_view kNumber = "{}";

const std::vector<LayerTensor>& tensors_of(const ModelConfig& config, int64_t layer) {
  return find_architecture(config.architecture)->tensors_of(config.is_linear(layer), config.has_experts(layer));
}

std::string name_of(const LayerTensor& tensor, int64_t expert) {
  std::string name(tensor.hf);
  if (tensor.of_expert()) name.replace(name.find(kNumber), kNumber.size(), std::to_string(expert));
  return name;
}

/// The number that stands for "{}"; nullopt where the name is another.
std::optional<int64_t> expert_of(std::string_view pattern, std::string_view name, int64_t experts) {
  const size_t at = pattern.find(kNumber);
  const auto before = pattern.substr(0, at), behind = pattern.substr(at + kNumber.size());
  if (name.size() <= before.size() + behind.size() || !name.starts_with(before) || !name.ends_with(behind)) return {};
  name.remove_prefix(before.size());
  name.remove_suffix(behind.size());
  const auto number = layer_number(name);
  const bool plain = number && std::to_string(*number) == name && *number < experts;
  return plain ? number : std::nullopt;
}

int64_t copies_of(const ModelConfig& config, const LayerTensor& tensor) {
  return tensor.of_expert() ? config.mixture.experts : 1;
}

}  // namespace

std::vector<int64_t> tensor_shape(const ModelConfig& config, const LayerTensor& tensor) {
  std::vector<int64_t> shape{config.extent(tensor.rows)};
  if (tensor.part == LayerPart::linear_conv) shape.push_back(1);
  if (tensor.cols != Extent::none) shape.push_back(config.extent(tensor.cols));
  return shape;
}

std::vector<NamedTensor> layer_tensors(const ModelConfig& config, int64_t layer) {
  std::vector<NamedTensor> all;
  for (const LayerTensor& tensor : tensors_of(config, layer)) {
    for (int64_t expert = 0; expert < copies_of(config, tensor); ++expert) {
      all.push_back({&tensor, expert, name_of(tensor, expert)});
    }
  }
  return all;
}

std::optional<NamedTensor> find_layer_tensor(const ModelConfig& config, int64_t layer, std::string_view hf) {
  for (const LayerTensor& tensor : tensors_of(config, layer)) {
    if (!tensor.of_expert()) {
      if (tensor.hf == hf) return NamedTensor{&tensor, 0, std::string(hf)};
    } else if (const auto expert = expert_of(tensor.hf, hf, config.mixture.experts)) {
      return NamedTensor{&tensor, *expert, std::string(hf)};
    }
  }
  return std::nullopt;
}

std::vector<std::string> modules_of(const ModelConfig& config, int64_t layer, const InputPlace& place) {
  std::vector<std::string> modules;
  for (const LayerTensor& tensor : tensors_of(config, layer)) {
    if (tensor.input == place.input) modules.push_back(name_of(tensor, place.expert));
  }
  return modules;
}

std::string module_of(const ModelConfig& config, int64_t layer, LayerPart part, int64_t expert) {
  const auto& tensors = tensors_of(config, layer);
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& tensor) { return tensor.part == part; });
  return found == tensors.end() ? std::string() : name_of(*found, expert);
}

std::vector<InputPlace> inputs_of(const ModelConfig& config, int64_t layer) {
  std::set<InputPlace> all;
  for (const LayerTensor& tensor : tensors_of(config, layer)) {
    if (!tensor.input) continue;
    for (int64_t expert = 0; expert < copies_of(config, tensor); ++expert) all.insert({*tensor.input, expert});
  }
  return {all.begin(), all.end()};
}

LayerWeights layer_weights(const ModelConfig& config, int64_t layer) {
  LayerWeights weights;
  for (const LayerTensor& tensor : tensors_of(config, layer)) {
    if (!tensor.input) continue;
    const int64_t one = config.extent(tensor.rows) * config.extent(tensor.cols);
    weights.all += one * copies_of(config, tensor);
    weights.used += one * (tensor.of_expert() ? config.mixture.per_token : 1);
  }
  return weights;
}

}  // namespace mxq
