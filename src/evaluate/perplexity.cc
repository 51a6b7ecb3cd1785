#include "evaluate/perplexity.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "base/stopwatch.h"
#include "evaluate/score.h"
#include "evaluate/summary.h"
#include "kernels/rows.h"
#include "mxq/error.h"

namespace mxq {

Perplexity perplexity_of_losses(const Windows& windows, std::span<const double> losses, double seconds) {
  for (size_t i = 0; i < losses.size(); ++i) {
    // Hidden states are checked by the decoder, so only the output matrix can do this.
    if (!std::isfinite(losses[i])) {
      throw Error(ErrorCode::not_finite, "measure perplexity",
                  fmt::format("the output matrix gives NaN or infinity at prediction {}", i));
    }
  }
  const Mean nll = weighted_mean(losses, prediction_weights(windows.windows));
  Perplexity result;
  result.nll = nll.value;
  result.perplexity = std::exp(nll.value);
  if (!std::isfinite(result.perplexity)) {
    throw Error(ErrorCode::not_finite, "measure perplexity", fmt::format("perplexity exp({})", nll.value));
  }
  result.standard_error = result.perplexity * nll.error;
  result.tokens = windows.tokens;
  result.windows = static_cast<int64_t>(windows.windows.size());
  result.seconds = seconds;
  result.tokens_per_second = static_cast<double>(window_tokens(windows.windows)) / seconds;
  return result;
}

Perplexity perplexity_of(Decoder& decoder, const Windows& windows, int64_t batch_tokens, Progress& progress) {
  const Stopwatch watch;
  const int64_t vocab = decoder.vocab_size();
  std::vector<double> losses;
  Decoder* const decoders[] = {&decoder};
  run_windows(decoders, windows.windows, batch_tokens, progress, [&](const LogitBlock& block) {
    losses.resize(static_cast<size_t>(block.first) + block.targets.size());
    parallel_for(static_cast<int64_t>(block.targets.size()), [&](int64_t r) {
      const float* row = block.logits.front() + r * vocab;
      losses[static_cast<size_t>(block.first + r)] =
          static_cast<double>(log_sum_exp(row, vocab)) - row[block.targets[static_cast<size_t>(r)]];
    });
  });
  return perplexity_of_losses(windows, losses, watch.seconds());
}

}  // namespace mxq
