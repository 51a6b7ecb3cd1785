// Fits of matrices by what they multiply on calibration text, layer by layer.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
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

/// The factors of a model's own inputs, nothing of it quantized: those of one layer at a time.
class OriginalFactors {
 public:
  /// All must outlive it.
  OriginalFactors(Runner& runner, const TokenSequences& sequences, const GptqOptions& gptq)
      : runner_(runner), inputs_(runner, sequences), gptq_(gptq) {}

  /// For a matrix of the model ("model.layers.0.mlp.up_proj"); null for an embedding that is only looked up. Layers
  /// are asked for in ascending order, the output matrix last.
  const FeedbackFactor* of(const std::string& matrix);

 private:
  Runner& runner_;
  LayerInputs inputs_;
  GptqOptions gptq_;
  std::map<std::string, std::shared_ptr<const FeedbackFactor>, std::less<>> by_module_;  // of the last layer run
};

/// Quantizes the matrices of a model in order, each fitted to the inputs that the quantized ones before it give
/// (layer by layer, and within a layer input by input), the output matrix last. An embedding that is only looked up
/// multiplies nothing: its weights' own error counts. So does that of matrices whose family takes no
/// feedback.
class CalibratedQuantizer {
 public:
  /// `matrices`: what to quantize; the others stay as they are. The references must outlive it, and the runner's
  /// matrices are replaced.
  CalibratedQuantizer(const ModelSource& model, Runner& runner, const TokenSequences& sequences,
                      std::unordered_map<const SourceTensor*, Scheme> matrices, const QuantizeOptions& options);

  /// What had to be done to second moments that were not positive definite, or of few tokens: a sentence each.
  std::vector<std::string> notes() const;

  /// One of `matrices`, handed out once. Layers are asked for in ascending order, what is outside of them last.
  QuantizedMatrix take(const SourceTensor& tensor);

 private:
  void run_layer();
  FeedbackFactor factor_of(const SecondMoments& moments, const Scheme& scheme) const;
  void quantize(const InputPlace& place, const SecondMoments& moments);
  /// Into ready_.
  void quantize(const SourceTensor& tensor, const Scheme& scheme, const FeedbackFactor* factor);

  const ModelSource& model_;
  Runner& runner_;
  LayerInputs inputs_;
  std::unordered_map<const SourceTensor*, Scheme> matrices_;
  QuantizeOptions options_;
  std::unordered_map<const SourceTensor*, QuantizedMatrix> ready_;
  int64_t fed_back_ = 0, damped_more_ = 0;
  double most_damping_ = 0;
};

/// "model.layers.L.MODULE", as error tables, plans and runners call a matrix.
std::string decoder_matrix(int64_t layer, std::string_view module);

}  // namespace mxq
