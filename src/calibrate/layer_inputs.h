// What the matrices of a decoder multiply on some text, summed up as second moments: what fits that look at activations
// are given.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/runner/cpu/cpu_runner.h"

namespace mxq {

/// The mean of x x^T over rows x, and of |x|.
class SecondMoments {
 public:
  /// Of all rows of the operand. The products run on one thread each, so that their bits do not depend on how many
  /// there are.
  explicit SecondMoments(const Operand& rows);

  int64_t width() const { return width_; }
  /// [width, width], row-major; the upper triangle, the rest is not for use.
  std::span<const float> values() const { return values_; }
  /// [width].
  std::span<const float> mean_magnitudes() const { return magnitudes_; }

 private:
  int64_t width_ = 0;
  std::vector<float> values_, magnitudes_;
};

/// Runs sequences through a decoder, layer by layer. In memory: the residual stream, and the activations of one layer,
/// of all tokens.
class LayerInputs {
 public:
  /// Called for the inputs of a layer in order, before they are multiplied.
  using Use = std::function<void(LayerInput input, const SecondMoments& moments)>;

  /// Both must outlive it. Throws what Decoder::embed() throws.
  LayerInputs(Decoder& decoder, std::span<const std::vector<int32_t>> sequences);

  /// The layer that next() will run.
  int64_t layer() const { return layer_; }
  /// Runs one layer. `use` may replace the matrices that multiply the input that it is told of: what follows is then
  /// made with those. Not to be called while the decoder runs. Throws what Decoder::run_layers() throws,
  /// Error(usage) where no layer is left, Error(not_finite) naming layer and matrices whose inputs are no numbers or too
  /// large to be squared.
  void next(const Use& use);
  /// Of the output matrix: runs the layers that are left, and norms what comes out of the last.
  SecondMoments head();

 private:
  Decoder& decoder_;
  std::vector<Sequence> sequences_;
  std::vector<float> residual_;
  int64_t layer_ = 0;
};

}  // namespace mxq
