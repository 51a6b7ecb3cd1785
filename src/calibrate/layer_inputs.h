// What the matrices of a model multiply on some text, summed up as second moments: what fits that look at activations
// are given.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/runner/runner.h"

namespace mxq {

/// A row a layer: what each token of all sequences counts in the second moments of the layer's inputs (MomentsTap), 1
/// on average. Empty: all count the same, which they always do in those of the output matrix.
using TokenWeights = std::vector<std::vector<float>>;

/// Runs sequences through a model, layer by layer. In memory: the residual stream, and the activations of one layer,
/// of all tokens.
class LayerInputs {
 public:
  /// Called for the inputs of a layer in order, before they are multiplied. Of an expert that sees few tokens the
  /// moments are shrunk(): SecondMoments::rows are its own.
  using Use = std::function<void(const InputPlace& place, const SecondMoments& moments)>;

  /// All must outlive it. `beside_original`: the model as it is runs along, so that moments have SecondMoments::cross
  /// of what it multiplies. Throws what Runner::embed() throws.
  LayerInputs(Runner& runner, std::span<const std::vector<int32_t>> sequences,
              std::span<const std::vector<float>> weights = {}, bool beside_original = false);

  /// The layer that next() will run.
  int64_t layer() const { return layer_; }
  /// Runs one layer. `use` may replace the matrices that multiply the input that it is told of, until the layer has
  /// run: what follows is then made with those. Not to be called while the runner is running. Throws what
  /// Runner::run_layers() throws, Error(usage) where no layer is left, Error(not_finite) naming layer and matrices
  /// whose inputs are no numbers or too large to be squared.
  void next(const Use& use);
  /// How many experts' moments were shrunk in the layers run so far, as a sentence; empty: none.
  std::string note() const;
  /// Of the output matrix: runs the layers that are left, and norms what comes out of the last.
  SecondMoments head();

 private:
  Runner& runner_;
  std::vector<Sequence> sequences_;
  std::span<const std::vector<float>> weights_;
  std::vector<float> residual_;
  std::vector<float> original_;  // of the model as it is; empty where it does not run along
  int64_t layer_ = 0;
  int64_t shrunk_ = 0, experts_ = 0;
};

/// The moments of n rows, less than their width w: n / w of them and 1 - n / w of the pooled ones, so that they are not
/// singular. With as many rows as columns or more they stay as they are.
SecondMoments shrunk(const SecondMoments& moments, const SecondMoments& pooled);

}  // namespace mxq
