// Perplexity of windows.
#pragma once

#include <span>

#include "evaluate/windows.h"
#include "model/decoder/decoder.h"
#include "mxq/evaluate.h"

namespace mxq {

/// From the losses (-ln p) of all predictions that count, which took so long. Throws Error(not_finite) for one that is
/// none. weight_bytes stays 0.
Perplexity perplexity_of_losses(const Windows& windows, std::span<const double> losses, double seconds);

/// weight_bytes stays 0.
Perplexity perplexity_of(Decoder& decoder, const Windows& windows, int64_t batch_tokens, Progress& progress);

}  // namespace mxq
