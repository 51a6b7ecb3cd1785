// Perplexity of windows.
#pragma once

#include <span>
#include <string_view>

#include "evaluate/windows.h"
#include "model/runner/runner.h"
#include "mxq/evaluate.h"

namespace mxq {

/// Throws Error(not_finite) naming `what`, window and token of the first of the values, one a prediction that counts,
/// that is none.
void require_finite(const Windows& windows, std::span<const double> values, std::string_view what);

/// From the losses (-ln p) of all predictions that count, which took so long. Throws Error(not_finite) naming `model`,
/// window and token of the first that is none, and of the largest where perplexity is beyond all numbers. weight_bytes
/// stays 0.
Perplexity perplexity_of_losses(const Windows& windows, std::span<const double> losses, double seconds,
                                std::string_view model = "the model");

/// weight_bytes stays 0.
Perplexity perplexity_of(Runner& runner, const Windows& windows, int64_t batch_tokens, Progress& progress);

}  // namespace mxq
