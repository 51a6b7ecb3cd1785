// AWQ over a whole model: scales folded into what comes before each matrix, clipped weights, rounding to nearest.
#pragma once

#include <map>
#include <string>
#include <unordered_map>

#include "calibrate/calibration_text.h"
#include "model/folded_source.h"
#include "model/runner/runner.h"
#include "mxq/quantized_matrix.h"

namespace mxq {

struct AwqFit {
  /// Of norms, matrices and biases, by tensor: what the model computes stays the same.
  std::map<std::string, Fold> folds;
  /// The matrices of layers that were asked for, by tensor, quantized.
  std::unordered_map<std::string, QuantizedMatrix> matrices;
  std::string note;  // LayerInputs::note()
};

/// Every tensor that fit_awq() may fold factors into, without any: what is stored of them.
std::map<std::string, Fold> awq_places(const ModelSource& model);

/// Layer by layer on the inputs of the unquantized model, as AutoAWQ: first the scales of all inputs of a layer (q, k,
/// v into the norm before them, o into v's rows where heads are not grouped, gate and up into their norm, down into
/// up's rows, but not through gpt-oss's clamped activation), then the clips, of all but q and k. `schemes`: what to
/// quantize, by tensor name. In memory: the activations and second moments of one layer, and all that has been
/// quantized. Throws what reading, running and quantizing throw.
AwqFit fit_awq(const ModelSource& model, Runner& runner, const TokenSequences& sequences,
               const std::unordered_map<std::string, Scheme>& schemes, const QuantizeOptions& options);

}  // namespace mxq
