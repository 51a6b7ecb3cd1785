#include "evaluate/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "base/stopwatch.h"
#include "evaluate/score.h"
#include "evaluate/summary.h"
#include "kernels/rows.h"
#include "mxq/error.h"

namespace mxq {

namespace {

/// Where in the text a prediction is: "window 3, token 17 (id 290)", both from 0.
std::string place_of(const Windows& windows, size_t prediction) {
  auto left = static_cast<int64_t>(prediction);
  size_t number = 0;
  while (left >= windows.windows[number].predictions()) left -= windows.windows[number++].predictions();
  const Window& window = windows.windows[number];
  const int64_t token = window.first + left + 1;
  return fmt::format("window {}, token {} (id {})", number, token, window.ids[static_cast<size_t>(token)]);
}

size_t first_not_finite(std::span<const double> values) {
  const auto found = std::find_if(values.begin(), values.end(), [](double x) { return !std::isfinite(x); });
  return static_cast<size_t>(found - values.begin());
}

constexpr const char* kOperation = "evaluate";

}  // namespace

void require_finite(const Windows& windows, std::span<const double> values, std::string_view what) {
  const size_t i = first_not_finite(values);
  if (i == values.size()) return;
  throw Error(ErrorCode::not_finite, kOperation, fmt::format("{} of {} at {}", what, values[i], place_of(windows, i)),
              "finite numbers");
}

Perplexity perplexity_of_losses(const Windows& windows, std::span<const double> losses, double seconds,
                                std::string_view model) {
  if (const size_t i = first_not_finite(losses); i < losses.size()) {
    // Hidden states are checked by the runner, so only the output matrix can do this.
    const char* const found = std::isnan(losses[i]) ? "the output matrix gives NaN or infinity" : "a probability of 0";
    throw Error(ErrorCode::not_finite, kOperation, fmt::format("{}, {}: {}", model, place_of(windows, i), found),
                "finite logits");
  }
  const Mean nll = weighted_mean(losses, prediction_weights(windows.windows));
  Perplexity result;
  result.nll = nll.value;
  result.perplexity = std::exp(nll.value);
  if (!std::isfinite(result.perplexity)) {
    const auto worst = static_cast<size_t>(std::max_element(losses.begin(), losses.end()) - losses.begin());
    throw Error(ErrorCode::not_finite, kOperation,
                fmt::format("{}: perplexity exp({}); the largest loss is {} at {}", model, nll.value, losses[worst],
                            place_of(windows, worst)),
                "finite numbers");
  }
  result.standard_error = result.perplexity * nll.error;
  result.tokens = windows.tokens;
  result.windows = static_cast<int64_t>(windows.windows.size());
  result.seconds = seconds;
  result.tokens_per_second = seconds > 0 ? static_cast<double>(window_tokens(windows.windows)) / seconds : 0;
  return result;
}

Perplexity perplexity_of(Runner& runner, const Windows& windows, int64_t batch_tokens, Progress& progress) {
  const Stopwatch watch;
  const int64_t vocab = runner.vocab_size();
  std::vector<double> losses;
  Runner* const runners[] = {&runner};
  run_windows(runners, windows.windows, batch_tokens, progress, [&](const LogitBlock& block) {
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
