#include "calibrate/token_weights.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>

#include "base/parallel.h"
#include "calibrate/score_gradients.h"
#include "kernels/rows.h"

namespace mxq {

namespace {

/// Residual streams that are kept at a time, in front of all layers together.
constexpr int64_t kKeptBytes = int64_t{128} << 20;

/// How many of the sequences from `first` on are run at once.
size_t run_at_once(const Runner& runner, std::span<const std::vector<int32_t>> sequences) {
  const int64_t token = (runner.layers() + 1) * runner.hidden_size() * static_cast<int64_t>(sizeof(float));
  int64_t bytes = 0;
  size_t count = 0;
  while (count < sequences.size()) {
    bytes += std::ssize(sequences[count]) * token;
    if (count > 0 && bytes > kKeptBytes) break;
    ++count;
  }
  return count;
}

/// To a mean of 1; 1 each where there is no such thing.
void normalize(std::vector<float>& weights) {
  double sum = 0;
  for (const float w : weights) sum += w;
  const auto per_mean = static_cast<float>(static_cast<double>(weights.size()) / sum);
  if (!(sum > 0) || !std::isfinite(sum) || !std::isfinite(per_mean)) {
    std::fill(weights.begin(), weights.end(), 1.0f);
  } else {
    for (float& w : weights) w *= per_mean;
  }
}

}  // namespace

TokenWeights gradient_norms(Runner& runner, const TokenSequences& sequences, uint64_t seed, Progress& progress) {
  const int64_t layers = runner.layers(), width = runner.hidden_size();
  TokenWeights weights(static_cast<size_t>(layers));
  progress.begin("token weights", layers * std::ssize(sequences));
  int64_t done = 0;
  std::vector<Sequence> all;
  for (const auto& ids : sequences) all.push_back({ids});
  for (size_t first = 0; first < sequences.size();) {
    const size_t count = run_at_once(runner, std::span(sequences).subspan(first));
    ScoreGradients gradients(runner, std::span(all).subspan(first, count), 1, seed + first);
    for (int64_t layer = layers - 1; layer >= 0; --layer) {
      const std::vector<float>& behind = gradients.behind(0);
      const auto tokens = static_cast<int64_t>(behind.size()) / width;
      std::vector<float>& to = weights[static_cast<size_t>(layer)];
      const auto from = std::ssize(to);
      to.resize(static_cast<size_t>(from + tokens));
      parallel_for(tokens, [&](int64_t t) {
        const float* const g = behind.data() + t * width;
        to[static_cast<size_t>(from + t)] = std::sqrt(dot(g, g, width));
      });
      if (layer > 0) gradients.back({}, {});
      progress.update(done += static_cast<int64_t>(count));
    }
    first += count;
  }
  progress.end();
  return weights;
}

const TokenWeights& token_weights(Model::State& model, Runner& runner, const TokenSequences& sequences,
                                  TokenWeighting weighting, Progress& progress) {
  static const TokenWeights even;
  if (weighting == TokenWeighting::even) return even;
  auto& known = model.token_weights;
  const auto found = std::find_if(known.begin(), known.end(), [&](const auto& k) { return k.first == sequences; });
  if (found != known.end()) return found->second;
  TokenWeights weights = gradient_norms(runner, sequences, 0, progress);
  for (auto& of_layer : weights) normalize(of_layer);
  known.emplace_back(sequences, std::move(weights));
  return known.back().second;
}

}  // namespace mxq
