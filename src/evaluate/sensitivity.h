// How much the outputs of a model change when one matrix does.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "model/decoder/decoder.h"
#include "mxq/progress.h"

namespace mxq {

/// A matrix to perturb: "model.layers.0.self_attn.q_proj", or one outside the layers.
struct Probe {
  std::string matrix;
  /// Its other weights, [out, in]; called once, when its turn has come.
  std::function<std::vector<float>()> weights;
};

/// For each probe KL(unperturbed || only that matrix perturbed), the mean over all tokens of the sequences. Only the
/// layers behind a perturbed matrix are run again, and probes of one layer go through them together. Embedding and
/// output matrix come last. NaN for a probe under which the model gives NaN or infinity. `done` hears of every result
/// as it comes, in the order of layers. In memory: the logits of all tokens. Progress: phase "sensitivity" in probes.
/// Throws Error(usage) for a matrix that the decoder has not.
std::vector<double> probe_divergences(Decoder& decoder, std::span<const std::vector<int32_t>> sequences,
                                      std::span<const Probe> probes, Progress& progress,
                                      const std::function<void(size_t probe, double kl)>& done = {});

}  // namespace mxq
