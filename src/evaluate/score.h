// The one loop that runs models over windows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "evaluate/windows.h"
#include "model/runner/runner.h"

namespace mxq {

/// Logits of some consecutive predictions that count.
struct LogitBlock {
  /// The first one's number, counting those of all windows in order.
  int64_t first = 0;
  /// The tokens that came; as many as rows of logits.
  std::span<const int32_t> targets;
  /// [targets.size(), vocab] of each runner.
  std::vector<const float*> logits;
};

/// Calls `use` for all predictions that count, in order. The runners, of one vocabulary, see windows of up to
/// `batch_tokens` tokens together. Progress: phase "evaluate" in tokens.
void run_windows(std::span<Runner* const> runners, std::span<const Window> windows, int64_t batch_tokens,
                 Progress& progress, const std::function<void(const LogitBlock&)>& use);

/// Rows of logits of one runner to have in memory at a time: 16 MiB, at least 1.
int64_t logit_rows(int64_t vocab);

/// Weights of all predictions that count: each window's, spread evenly over its own.
std::vector<double> prediction_weights(std::span<const Window> windows);

/// Tokens of all windows.
int64_t window_tokens(std::span<const Window> windows);

/// Tokens that pass through a model at once where nobody says otherwise. Twice as many cost 30 MiB on SmolLM2 and make
/// packed weights 3 % faster, others slower.
constexpr int64_t kDefaultBatch = 1024;
/// The batch that the options ask for, or the default.
int64_t batch_of(const PerplexityOptions& options);

}  // namespace mxq
