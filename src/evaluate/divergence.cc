#include "evaluate/divergence.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/parallel.h"
#include "base/stopwatch.h"
#include "evaluate/perplexity.h"
#include "evaluate/score.h"
#include "evaluate/summary.h"
#include "kernels/rows.h"
#include "mxq/error.h"

namespace mxq {

Divergence divergence_of(const PredictionPairs& pairs, std::span<const double> weights) {
  Divergence result;
  const Mean kl = mean_of(pairs.kl), top1 = mean_of(pairs.same_top);
  result.mean = kl.value;
  result.mean_error = kl.error;
  result.median = quantile(pairs.kl, 0.5);
  result.p99 = quantile(pairs.kl, 0.99);
  result.max = *std::max_element(pairs.kl.begin(), pairs.kl.end());
  result.top1_agreement = top1.value;
  result.top1_error = top1.error;
  std::vector<double> differences(pairs.loss.size());
  for (size_t i = 0; i < differences.size(); ++i) differences[i] = pairs.loss[i] - pairs.base_loss[i];
  const Mean ratio = weighted_mean(differences, weights);
  result.ln_ppl_ratio = ratio.value;
  result.ln_ppl_ratio_error = ratio.error;
  return result;
}

Comparison compare(Runner& model, const BaseLogits& base, const Windows& windows, int64_t batch_tokens,
                   Progress& progress) {
  const int64_t vocab = base.runner != nullptr ? base.runner->vocab_size() : model.vocab_size();
  if (model.vocab_size() != vocab) {
    throw Error(ErrorCode::usage, "compare models",
                fmt::format("vocabularies of {} and {} tokens", model.vocab_size(), vocab), "the same tokens");
  }
  const Stopwatch watch;
  const std::vector<double> weights = prediction_weights(windows.windows);
  PredictionPairs pairs;
  for (auto* values : {&pairs.kl, &pairs.loss, &pairs.base_loss, &pairs.same_top}) values->resize(weights.size());
  std::vector<Runner*> runners{&model};
  if (base.file == nullptr) runners.push_back(base.runner);
  run_windows(runners, windows.windows, batch_tokens, progress, [&](const LogitBlock& block) {
    if (base.keep != nullptr) base.keep->append(block.logits[1], static_cast<int64_t>(block.targets.size()));
    parallel_for(static_cast<int64_t>(block.targets.size()), [&](int64_t r) {
      const float* expected = base.file != nullptr ? base.file->row(block.first + r) : block.logits[1] + r * vocab;
      const float* found = block.logits[0] + r * vocab;
      const RowDivergence row = row_divergence(expected, found, vocab);
      const auto i = static_cast<size_t>(block.first + r);
      const int32_t target = block.targets[static_cast<size_t>(r)];
      pairs.kl[i] = row.kl;
      pairs.base_loss[i] = row.base_log_sum - expected[target];
      pairs.loss[i] = row.other_log_sum - found[target];
      pairs.same_top[i] = row.base_top == row.other_top ? 1 : 0;
    });
  });
  const double seconds = watch.seconds();
  Comparison result;
  result.base = perplexity_of_losses(windows, pairs.base_loss, seconds, "the base");
  result.model = perplexity_of_losses(windows, pairs.loss, seconds);
  require_finite(windows, pairs.kl, "KL divergence");
  result.kl = divergence_of(pairs, weights);
  return result;
}

}  // namespace mxq
