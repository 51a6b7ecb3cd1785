#include "calibrate/layer_inputs.h"

#include <fmt/format.h>

#include <cmath>
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

LayerInputs::LayerInputs(Runner& runner, std::span<const std::vector<int32_t>> sequences) : runner_(runner) {
  for (const auto& ids : sequences) sequences_.push_back({ids});
  residual_ = runner_.embed(sequences_);
}

void LayerInputs::next(const Use& use) {
  if (layer_ == runner_.layers()) throw Error(ErrorCode::usage, "gather inputs", "a layer behind the last");
  const auto show = [&](int64_t layer, LayerInput input, const SecondMoments& moments) {
    require_finite(moments,
                   fmt::format("layer {}'s {}", layer, fmt::join(runner_.architecture().modules_of(input), ", ")));
    use(input, moments);
  };
  runner_.run_layers(sequences_, layer_, layer_ + 1, residual_, show);
  ++layer_;
}

SecondMoments LayerInputs::head() {
  runner_.run_layers(sequences_, layer_, runner_.layers(), residual_);
  layer_ = runner_.layers();
  SecondMoments moments = runner_.head_moments(sequences_, residual_);
  require_finite(moments, runner_.head());
  return moments;
}

}  // namespace mxq
