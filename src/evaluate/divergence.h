// How far one model's predictions are from another's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "evaluate/windows.h"
#include "model/decoder/decoder.h"
#include "mxq/evaluate.h"

namespace mxq {

/// What is known of each prediction that counts.
struct PredictionPairs {
  std::vector<double> kl, loss, base_loss;
  std::vector<double> same_top;  // 1 or 0
};

/// Of values as above, the losses weighted as their windows say, everything else alike.
Divergence divergence_of(const PredictionPairs& pairs, std::span<const double> weights);

/// weight_bytes stay 0. Throws Error(usage) for decoders of different vocabularies.
Comparison compare(Decoder& model, Decoder& base, const Windows& windows, int64_t batch_tokens, Progress& progress);

}  // namespace mxq
