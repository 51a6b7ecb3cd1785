// By how much a change of the residual stream changes what a model says.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/runner/runner.h"
#include "mxq/progress.h"

namespace mxq {

/// For each token a label y is drawn from the model's own prediction; g = d log p(y) / d residual stream, of all
/// tokens' labels together. The divergence of the model's outputs when the residual stream changes by d is, to second
/// order, half the expectation of (g d)^2 over such draws: the Fisher matrix is what both have in common.
class ScoreGradients {
 public:
  /// Runs the model to its end. The runner must outlive it, as must the ids. In memory: the residual stream in front of
  /// every layer, and one gradient a draw. `seed`: of the labels. Throws what Runner::run_layers() throws. Progress:
  /// phase "outputs" in layers.
  ScoreGradients(Runner& runner, std::span<const Sequence> sequences, int64_t draws, uint64_t seed,
                 Progress* progress = nullptr);

  /// The layer that back() goes through next, from the last one down; -1: none is left.
  int64_t layer() const { return layer_; }
  /// Of one draw, with respect to the residual stream behind that layer: [tokens, hidden_size].
  const std::vector<float>& behind(int64_t draw) const { return gradients_[static_cast<size_t>(draw)]; }
  /// Carries all draws' gradients through a layer, one draw after another, as Runner::run_back().
  void back(const RowsObserver& look, const GradientObserver& observe, const std::function<void()>& done = {});

 private:
  Runner& runner_;
  std::vector<Sequence> sequences_;
  int64_t layer_ = 0;
  std::vector<std::vector<float>> residuals_;  // as they enter each layer up to layer_
  std::vector<std::vector<float>> gradients_;  // a draw each
};

}  // namespace mxq
