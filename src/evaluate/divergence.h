// How far one model's predictions are from another's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "evaluate/logit_file.h"
#include "evaluate/windows.h"
#include "model/runner/runner.h"
#include "mxq/evaluate.h"

namespace mxq {

/// What is known of each prediction that counts.
struct PredictionPairs {
  std::vector<double> kl, loss, base_loss;
  std::vector<double> same_top;  // 1 or 0
};

/// Of values as above, the losses weighted as their windows say, everything else alike.
Divergence divergence_of(const PredictionPairs& pairs, std::span<const double> weights);

/// Where a base's logits come from: its runner, or a file that has them, of the same windows.
struct BaseLogits {
  Runner* runner = nullptr;
  const LogitFile* file = nullptr;  // instead of the runner
  LogitFileWriter* keep = nullptr;  // gets the runner's, if there is one
};

/// weight_bytes stay 0. Throws Error(usage) for a model of another vocabulary than the base's runner, Error(not_finite)
/// naming model, window and token of the first figure that is none.
Comparison compare(Runner& model, const BaseLogits& base, const Windows& windows, int64_t batch_tokens,
                   Progress& progress);

}  // namespace mxq
