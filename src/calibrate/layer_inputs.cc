#include "calibrate/layer_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string_view>

#include "mxq/error.h"

namespace mxq {

namespace {

/// Throws Error(not_finite) naming the matrices that multiply the inputs where a sum is none. A sum of products is one
/// wherever those of its squares are.
void require_finite(const SecondMoments& moments, std::string_view of) {
  for (int64_t i = 0; i < moments.width; ++i) {
    const float square = moments.values[static_cast<size_t>(i * moments.width + i)];
    if (std::isfinite(square)) continue;
    throw Error(ErrorCode::not_finite, "gather inputs",
                fmt::format("the inputs of {} have a mean square of {}", of, square),
                "finite inputs whose squares fp32 can hold");
  }
}

}  // namespace

SecondMoments shrunk(const SecondMoments& moments, const SecondMoments& pooled) {
  SecondMoments mixed = moments;
  const float own = std::min(1.0f, static_cast<float>(moments.rows) / static_cast<float>(moments.width));
  const auto mix = [own](std::vector<float>& of, const std::vector<float>& all) {
    for (size_t i = 0; i < of.size(); ++i) of[i] = own * of[i] + (1 - own) * all[i];
  };
  mix(mixed.values, pooled.values);
  mix(mixed.mean_magnitudes, pooled.mean_magnitudes);
  return mixed;
}

LayerInputs::LayerInputs(Runner& runner, std::span<const std::vector<int32_t>> sequences,
                         std::span<const std::vector<float>> weights, bool beside_original)
    : runner_(runner), weights_(weights) {
  for (const auto& ids : sequences) sequences_.push_back({ids});
  residual_ = runner_.embed(sequences_);
  if (beside_original) original_ = residual_;
}

void LayerInputs::next(const Use& use) {
  if (layer_ == runner_.layers()) throw Error(ErrorCode::usage, "gather inputs", "a layer behind the last");
  const auto show = [&](int64_t layer, const InputPlace& place, const SecondMoments& moments,
                        const SecondMoments* pooled) {
    const auto modules = modules_of(runner_.config(), layer, place);
    require_finite(moments, fmt::format("layer {}'s {}", layer, fmt::join(modules, ", ")));
    if (place.input == LayerInput::routed) ++experts_;
    if (pooled == nullptr || moments.rows >= moments.width) return use(place, moments);
    if (place.input == LayerInput::routed) ++shrunk_;
    use(place, shrunk(moments, *pooled));
  };
  const auto counts = weights_.empty() ? std::span<const float>() : std::span(weights_[static_cast<size_t>(layer_)]);
  std::unique_ptr<KeptInputs> kept;
  if (!original_.empty()) kept = runner_.run_and_keep(sequences_, layer_, original_);
  runner_.run_layers(sequences_, layer_, layer_ + 1, residual_, {show, counts, kept.get()});
  ++layer_;
}

std::string LayerInputs::note() const {
  if (shrunk_ == 0) return {};
  return fmt::format(
      "{} of {} experts saw fewer tokens of the calibration's text than their inputs are wide: their second moments "
      "are "
      "mixed with those of the layer (more text: --calibration-tokens)",
      shrunk_, experts_);
}

SecondMoments LayerInputs::head() {
  runner_.run_layers(sequences_, layer_, runner_.layers(), residual_);
  layer_ = runner_.layers();
  SecondMoments moments = runner_.head_moments(sequences_, residual_);
  require_finite(moments, runner_.head());
  return moments;
}

}  // namespace mxq
