// How much the outputs of a model change when one matrix does.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/runner/runner.h"
#include "mxq/progress.h"

namespace mxq {

/// A matrix to perturb: "model.layers.0.self_attn.q_proj", or one outside the layers.
struct Probe {
  std::string matrix;
  /// Its other weights, [out, in]; called once, when its turn has come.
  std::function<std::vector<float>()> weights;
};

/// How probe_divergences() goes about it.
struct ProbeOptions {
  int64_t draws = 8;  // of labels, see ScoreGradients
  uint64_t seed = 0;
  /// How far what errors do together is followed, in tokens. Alone (1) they come out 7 % too small, v_proj's 20 %, for
  /// attention adds up what near tokens share; products of far ones are noise, as long as there are few draws.
  int64_t window = 16;
};

/// For each probe KL(unperturbed || only that matrix perturbed), the mean over all tokens of the sequences, to second
/// order in the perturbation: by gradients (ScoreGradients), once for all matrices, and what each probe does to its
/// matrix's outputs. What errors at two tokens do together counts the less the farther they are apart
/// (windowed_divergence()). A probe outside the layers (embedding, output matrix) runs the whole model instead. NaN for
/// a probe whose weights or outputs are not numbers. `done` hears of every result as it comes, layers from the last to
/// the first. Progress: phases "sensitivity of embeddings" in probes, "outputs" in layers, "sensitivity" in draws of
/// layers. Throws Error(usage) for a matrix that the model has not, and
/// what running the model throws.
std::vector<double> probe_divergences(Runner& runner, std::span<const std::vector<int32_t>> sequences,
                                      std::span<const Probe> probes, const ProbeOptions& options, Progress& progress,
                                      const std::function<void(size_t probe, double kl)>& done = {});

/// The mean divergence of the tokens of a sequence from the changes s_t that one draw of labels sees, times the number
/// of tokens: half the sum over t and u of s_t s_u (1 - |t - u| / window) where that is positive.
double windowed_divergence(std::span<const float> changes, int64_t window);

}  // namespace mxq
