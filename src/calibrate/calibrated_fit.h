// Fits of matrices by what they multiply on calibration text, layer by layer.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>

#include "calibrate/calibration_text.h"
#include "calibrate/layer_inputs.h"
#include "mxq/quantized_matrix.h"
#include "schemes/feedback/gptq.h"

namespace mxq {

/// What a fit makes of an input's second moments: Fit::gptq all of them, Fit::mse their diagonal. For a scheme's
/// groups.
GptqOptions gptq_options(const QuantizeOptions& options, int64_t group);

/// Shows `use` what each of `matrices` multiplies ("model.layers.0.mlp.up_proj", the output matrix) in a model of which
/// nothing is quantized: one factor at a time, in the order of layers. Returns those that multiply nothing: an
/// embedding that is only looked up, names that the model has not.
std::set<std::string> for_each_factor(
    Runner& runner, const TokenSequences& sequences, std::span<const std::vector<float>> weights,
    const GptqOptions& options, std::set<std::string> matrices,
    const std::function<void(const std::string& matrix, const FeedbackFactor& factor)>& use);

/// Quantizes the matrices of a model in order, each fitted to the inputs that the quantized ones before it give
/// (layer by layer, and within a layer input by input), the output matrix last. An embedding that is only looked up
/// multiplies nothing: its weights' own error counts. So does that of matrices whose family takes no
/// feedback.
class CalibratedQuantizer {
 public:
  /// `matrices`: what to quantize; the others stay as they are. The references must outlive it. The runner's matrices
  /// are replaced as long as their layer runs: of one layer both are in memory.
  CalibratedQuantizer(const ModelSource& model, Runner& runner, const TokenSequences& sequences,
                      std::span<const std::vector<float>> weights,
                      std::unordered_map<const SourceTensor*, Scheme> matrices, const QuantizeOptions& options);

  /// What had to be done to second moments that were not positive definite, or of few tokens: a sentence each.
  std::vector<std::string> notes() const;

  /// One of `matrices`, handed out once. Layers are asked for in ascending order, what is outside of them last.
  QuantizedMatrix take(const SourceTensor& tensor);

 private:
  /// Weights that take a matrix's place.
  struct InPlace {
    explicit InPlace(std::unique_ptr<Replacement> made) : weights(std::move(made)), during(*weights) {}
    std::unique_ptr<Replacement> weights;
    During during;
  };

  void run_layer();
  FeedbackFactor factor_of(const SecondMoments& moments, const Scheme& scheme) const;
  /// The weights to be quantized: with FeedbackOptions::correction other ones than the model's, unless those lie on the
  /// scheme's grid.
  std::vector<float> weights_of(const SourceTensor& tensor, const Scheme& scheme, const FeedbackFactor* factor,
                                const SecondMoments* moments) const;
  void quantize(const InputPlace& place, const SecondMoments& moments);
  /// Into ready_. Nulls where the weights' own error counts.
  void quantize(const SourceTensor& tensor, const Scheme& scheme, const FeedbackFactor* factor,
                const SecondMoments* moments);

  const ModelSource& model_;
  Runner& runner_;
  LayerInputs inputs_;
  std::unordered_map<const SourceTensor*, Scheme> matrices_;
  QuantizeOptions options_;
  std::unordered_map<const SourceTensor*, QuantizedMatrix> ready_;
  std::deque<InPlace> replaced_;  // of the layer that runs
  int64_t fed_back_ = 0, damped_more_ = 0;
  double most_damping_ = 0;
};

/// "model.layers.L.MODULE", as error tables, plans and runners call a matrix.
std::string decoder_matrix(int64_t layer, std::string_view module);

}  // namespace mxq
