#include "calibrate/awq_fit.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "calibrate/calibrated_fit.h"
#include "calibrate/layer_inputs.h"
#include "model/statistics.h"
#include "mxq/measure.h"
#include "schemes/awq/awq.h"

namespace mxq {

namespace {

/// What is known of an input of a layer.
struct Inputs {
  std::vector<float> magnitudes, moments;  // mean |x|; the whole symmetric matrix
};

std::vector<float> inverses(const std::vector<float>& scales) {
  std::vector<float> result;
  for (const float s : scales) result.push_back(1 / s);
  return result;
}

/// A tensor of a layer.
std::string layer_tensor(int64_t layer, std::string_view module, std::string_view part = "weight") {
  return fmt::format("{}.{}", decoder_matrix(layer, module), part);
}

/// The tensors whose rows are divided by the scales of an input, and what stands for their values; empty: there is no
/// place for them.
struct Places {
  std::vector<std::string> names;
  float offset = 0;
};

Places places_before(const ModelSource& model, int64_t layer, const InputPlace& place) {
  const ModelConfig& config = *model.config();
  const auto tensor_of = [&](LayerPart part, std::string_view ending = "weight") {
    const std::string module = module_of(config, layer, part, place.expert);
    return module.empty() ? std::string() : layer_tensor(layer, module, ending);
  };
  const auto norm = [&](LayerPart part) -> Places {
    if (tensor_of(part).empty()) return {};
    return {{tensor_of(part)}, find_architecture(config.architecture)->norm == Norm::rms_plus_one ? 1.0f : 0.0f};
  };
  // The clamped activation is not linear in up.
  const bool linear_in_up = config.activation != Activation::clamped;
  const auto rows_of = [&](LayerPart part) -> Places {
    if (tensor_of(part).empty()) return {};
    std::vector<std::string> names{tensor_of(part)};
    const std::string bias = tensor_of(part, "bias");
    if (model.find(bias) != nullptr) names.push_back(bias);
    return {names};
  };
  switch (place.input) {
    case LayerInput::attention:
      return norm(LayerPart::input_norm);
    case LayerInput::heads:
      // Query heads that share a value head would need the same scales.
      return config.num_key_value_heads != config.num_attention_heads ? Places() : rows_of(LayerPart::v);
    case LayerInput::feed_forward:
      return norm(LayerPart::feed_forward_norm);
    case LayerInput::gated:
      return linear_in_up ? rows_of(LayerPart::up) : Places();
    case LayerInput::routed:  // the norm's rows are feed_forward's
      return {};
    case LayerInput::routed_gated:
      return linear_in_up ? rows_of(LayerPart::expert_up) : Places();
  }
  return {};
}

/// Of these AWQ clips nothing.
bool gives_queries_or_keys(LayerPart part) {
  return part == LayerPart::q || part == LayerPart::k || part == LayerPart::qkv || part == LayerPart::linear_qkvz ||
         part == LayerPart::linear_qkv;
}

/// The modules whose columns are multiplied by the scales of an input: experts read what the network beside them does.
std::vector<std::string> scaled_modules(const ModelConfig& config, int64_t layer, const InputPlace& place) {
  auto modules = modules_of(config, layer, place);
  if (place.input != LayerInput::feed_forward || !config.has_experts(layer)) return modules;
  for (int64_t expert = 0; expert < config.mixture.experts; ++expert) {
    for (auto& module : modules_of(config, layer, {LayerInput::routed, expert})) modules.push_back(std::move(module));
  }
  return modules;
}

class LayerFit {
 public:
  LayerFit(const ModelSource& model, int64_t layer, const std::map<InputPlace, Inputs>& inputs,
           const std::unordered_map<std::string, Scheme>& schemes, const QuantizeOptions& options, AwqFit& fit)
      : model_(model), layer_(layer), inputs_(inputs), schemes_(schemes), options_(options), fit_(fit) {}

  void run() {
    for (const auto& [place, inputs] : inputs_) scale(place, inputs);
    for (const auto& [place, inputs] : inputs_) {
      for (const auto& module : modules_of(*model_.config(), layer_, place)) quantize(inputs, module);
    }
  }

 private:
  std::string tensor(std::string_view module) const { return layer_tensor(layer_, module); }

  void scale(const InputPlace& place, const Inputs& x) {
    const auto places = places_before(model_, layer_, place);
    if (places.names.empty()) return;
    const auto modules = scaled_modules(*model_.config(), layer_, place);
    std::vector<std::vector<float>> weights;
    std::vector<AwqMatrix> matrices;
    for (const auto& module : modules) {
      const auto scheme = schemes_.find(tensor(module));
      if (scheme == schemes_.end()) continue;
      const SourceTensor& found = *model_.find(tensor(module));
      weights.push_back(read_finite(model_, found));
      matrices.push_back({{weights.back().data(), found.rows(), found.cols()}, scheme->second});
    }
    if (matrices.empty()) return;
    const auto scales = awq_scales(matrices, x.magnitudes, x.moments, options_.metadata);
    for (const auto& name : places.names) {
      fit_.folds[name].rows = inverses(scales);
      fit_.folds[name].offset = places.offset;
    }
    for (const auto& module : modules) fit_.folds[tensor(module)].cols = scales;
  }

  void quantize(const Inputs& inputs, std::string_view module) {
    const std::string name = tensor(module);
    const auto scheme = schemes_.find(name);
    if (scheme == schemes_.end()) return;
    const auto folds = folds_of(name);
    const FoldedSource folded(model_, folds);
    const SourceTensor& found = *folded.find(name);
    auto weights = read_finite(folded, found);
    const MatrixView view{weights.data(), found.rows(), found.cols()};
    const LayerPart part = find_layer_tensor(*model_.config(), layer_, module)->tensor->part;
    const bool clips = !gives_queries_or_keys(part);
    if (clips && scheme->second.family == "affine") {
      std::vector<float> moments = inputs.moments, clipped(weights.size());
      if (const auto fold = folds.find(name); fold != folds.end() && !fold->second.cols.empty()) {
        const auto& s = fold->second.cols;
        for (int64_t i = 0; i < view.cols; ++i) {
          for (int64_t j = 0; j < view.cols; ++j) moments[i * view.cols + j] /= s[i] * s[j];
        }
      }
      awq_clip({view, scheme->second}, moments, clipped.data());
      weights.swap(clipped);
      fit_.matrices.emplace(name,
                            quantize_matrix({weights.data(), view.rows, view.cols}, scheme->second, tabled(options_)));
    } else {
      fit_.matrices.emplace(name, quantize_matrix(view, scheme->second, tabled(options_)));
    }
    model_.done(*model_.find(name));
  }

  std::map<std::string, Fold> folds_of(const std::string& name) const {
    const auto found = fit_.folds.find(name);
    return found == fit_.folds.end() ? std::map<std::string, Fold>() : std::map<std::string, Fold>{*found};
  }

  const ModelSource& model_;
  int64_t layer_;
  const std::map<InputPlace, Inputs>& inputs_;
  const std::unordered_map<std::string, Scheme>& schemes_;
  const QuantizeOptions& options_;
  AwqFit& fit_;
};

}  // namespace

std::map<std::string, Fold> awq_places(const ModelSource& model) {
  std::map<std::string, Fold> places;
  if (!model.config() || find_architecture(model.config()->architecture) == nullptr) return places;
  const ModelConfig& config = *model.config();
  const auto add = [&](const std::string& name) {
    if (model.find(name) != nullptr) places[name];
  };
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const InputPlace& place : inputs_of(config, layer)) {
      const auto names = places_before(model, layer, place).names;
      for (const auto& name : names) add(name);
      if (names.empty()) continue;
      for (const auto& module : scaled_modules(config, layer, place)) add(layer_tensor(layer, module));
    }
  }
  return places;
}

AwqFit fit_awq(const ModelSource& model, Runner& runner, const TokenSequences& sequences,
               const std::unordered_map<std::string, Scheme>& schemes, const QuantizeOptions& options) {
  AwqFit fit;
  LayerInputs layers(runner, sequences);
  while (layers.layer() < runner.layers()) {
    const int64_t layer = layers.layer();
    std::map<InputPlace, Inputs> inputs;
    layers.next([&](const InputPlace& place, const SecondMoments& moments) {
      auto& [magnitudes, values] = inputs[place];
      magnitudes = moments.mean_magnitudes;
      values = moments.values;
      const int64_t width = moments.width;
      for (int64_t i = 0; i < width; ++i) {
        for (int64_t j = 0; j < i; ++j) values[i * width + j] = values[j * width + i];
      }
    });
    LayerFit(model, layer, inputs, schemes, options, fit).run();
  }
  fit.note = layers.note();
  return fit;
}

}  // namespace mxq
