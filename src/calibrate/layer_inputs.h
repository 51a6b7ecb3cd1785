// What the matrices of a model multiply on some text, summed up as second moments: what fits that look at activations
// are given.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/runner/runner.h"

namespace mxq {

/// Runs sequences through a model, layer by layer. In memory: the residual stream, and the activations of one layer,
/// of all tokens.
class LayerInputs {
 public:
  /// Called for the inputs of a layer in order, before they are multiplied.
  using Use = std::function<void(LayerInput input, const SecondMoments& moments)>;

  /// Both must outlive it. Throws what Runner::embed() throws.
  LayerInputs(Runner& runner, std::span<const std::vector<int32_t>> sequences);

  /// The layer that next() will run.
  int64_t layer() const { return layer_; }
  /// Runs one layer. `use` may replace the matrices that multiply the input that it is told of: what follows is then
  /// made with those. Not to be called while the runner is running. Throws what Runner::run_layers() throws,
  /// Error(usage) where no layer is left, Error(not_finite) naming layer and matrices whose inputs are no numbers or
  /// too large to be squared.
  void next(const Use& use);
  /// Of the output matrix: runs the layers that are left, and norms what comes out of the last.
  SecondMoments head();

 private:
  Runner& runner_;
  std::vector<Sequence> sequences_;
  std::vector<float> residual_;
  int64_t layer_ = 0;
};

}  // namespace mxq
