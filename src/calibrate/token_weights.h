// How much each token of a calibration's text counts: by how much what the model says depends on it.
#pragma once

#include <cstdint>

#include "calibrate/calibration_text.h"
#include "calibrate/layer_inputs.h"
#include "model/model_state.h"
#include "model/runner/runner.h"
#include "mxq/progress.h"
#include "mxq/scheme.h"

namespace mxq {

/// Of a token at a layer: the norm of g = d log p / d residual stream behind the layer, p that of labels that are drawn
/// from the model's own predictions (ScoreGradients).
/// In memory: the residual stream in front of every layer of some sequences at a time (128 MiB, or one sequence).
/// Progress: phase "token weights" in layers of sequences.
TokenWeights gradient_norms(Runner& runner, const TokenSequences& sequences, uint64_t seed, Progress& progress);

/// As the options ask: gradient_norms() over their mean, or nothing where all count the same. A layer whose gradients
/// are all 0, or not all finite, counts all tokens the same. Remembered by the model.
/// An error e of the layer's outputs costs about (g e)^2, so that g^2 would be due to the second order; its root
/// measures better, for one draw of labels says little of a token (docs/decisions/0019). GuidedQuant (Kim et al., arXiv
/// 2505.07004) weights by g^2, of the loss on a given text.
const TokenWeights& token_weights(Model::State& model, Runner& runner, const TokenSequences& sequences,
                                  TokenWeighting weighting, Progress& progress);

}  // namespace mxq
