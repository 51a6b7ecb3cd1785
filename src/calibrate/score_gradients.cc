#include "calibrate/score_gradients.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "base/parallel.h"
#include "evaluate/sample.h"
#include "evaluate/score.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"
#include "mxq/error.h"

namespace mxq {

namespace {

/// Draws labels by the probabilities of a row, in one walk along it: a point at random in each of as many equal parts
/// of their sum as there are draws, so that likely labels are drawn as often as they should be.
class Labels {
 public:
  Labels(std::mt19937_64& random, int64_t draws) {
    std::vector<int64_t> order(static_cast<size_t>(draws));
    std::iota(order.begin(), order.end(), 0);
    // Which draw gets which part, anew for each token: draws are independent between tokens.
    for (size_t k = order.size(); k > 1; --k) std::swap(order[k - 1], order[random() % k]);
    for (int64_t k = 0; k < draws; ++k) {
      points_.emplace_back((static_cast<double>(k) + uniform(random)) / static_cast<double>(draws),
                           order[static_cast<size_t>(k)]);
    }
  }

  std::vector<int64_t> drawn(const float* p, int64_t n) const {
    std::vector<int64_t> labels(points_.size());
    double sum = 0;
    int64_t i = 0;
    for (const auto& [point, draw] : points_) {
      while (i + 1 < n && sum + p[i] <= point) sum += p[i++];
      labels[static_cast<size_t>(draw)] = i;
    }
    return labels;
  }

 private:
  std::vector<std::pair<double, int64_t>> points_;  // in [0, 1), rising, each with the draw that it is of
};

/// The gradient of log p(label) with respect to the last hidden states, for each draw: [tokens, hidden_size] each.
/// It is the label's row of the output matrix less the mean of all rows, by their probabilities; each times the slope
/// of its logit.
std::vector<std::vector<float>> label_gradients(Runner& runner, const std::vector<float>& hidden, int64_t draws,
                                                uint64_t seed) {
  const int64_t vocab = runner.vocab_size(), width = runner.hidden_size();
  const auto tokens = static_cast<int64_t>(hidden.size()) / width;
  std::vector<float> room;
  const float* const rows = runner.weights(std::string(runner.head()), room).data();
  std::vector<std::vector<float>> gradients(static_cast<size_t>(draws), std::vector<float>(hidden.size()));
  std::mt19937_64 random(seed);
  const int64_t block = std::min(logit_rows(vocab), tokens);
  std::vector<float> p(static_cast<size_t>(block * vocab)), means(static_cast<size_t>(block * width));
  for (int64_t first = 0; first < tokens; first += block) {
    const int64_t count = std::min(block, tokens - first);
    std::vector<Labels> labels;
    for (int64_t t = 0; t < count; ++t) labels.emplace_back(random, draws);
    runner.logits(hidden.data() + first * width, count, p.data());
    // Models whose logits are the products themselves need none.
    std::vector<float> slopes;
    if (const LogitShape& shape = runner.logit_shape(); !shape.is_plain()) {
      for (int64_t i = 0; i < count * vocab; ++i) slopes.push_back(shape.slope(p[static_cast<size_t>(i)]));
    }
    parallel_for(count, [&](int64_t t) {
      softmax(p.data() + t * vocab, 1, vocab);
      // NaN and infinities spread to all of a row.
      if (std::isfinite(p[static_cast<size_t>(t * vocab)])) return;
      throw Error(ErrorCode::not_finite, "measure sensitivity",
                  fmt::format("the output matrix gives NaN or infinity at token {}", first + t), "finite logits");
    });
    std::vector<std::vector<int64_t>> drawn(static_cast<size_t>(count));
    parallel_for(count, [&](int64_t t) {
      drawn[static_cast<size_t>(t)] = labels[static_cast<size_t>(t)].drawn(p.data() + t * vocab, vocab);
      for (int64_t i = t * vocab; !slopes.empty() && i < (t + 1) * vocab; ++i) {
        p[static_cast<size_t>(i)] *= slopes[static_cast<size_t>(i)];
      }
    });
    matmul(count, width, vocab, p.data(), vocab, rows, width, means.data(), width);
    parallel_for(count, [&](int64_t t) {
      for (size_t d = 0; d < gradients.size(); ++d) {
        const int64_t label = drawn[static_cast<size_t>(t)][d];
        const float slope = slopes.empty() ? 1 : slopes[static_cast<size_t>(t * vocab + label)];
        float* const to = gradients[d].data() + (first + t) * width;
        for (int64_t i = 0; i < width; ++i) to[i] = slope * rows[label * width + i] - means[t * width + i];
      }
    });
  }
  return gradients;
}

}  // namespace

ScoreGradients::ScoreGradients(Runner& runner, std::span<const Sequence> sequences, int64_t draws, uint64_t seed,
                               Progress* progress)
    : runner_(runner), sequences_(sequences.begin(), sequences.end()), layer_(runner.layers() - 1) {
  Progress& bar = or_silent(progress);
  bar.begin("outputs", runner_.layers() + 1);
  auto residual = runner_.embed(sequences_);
  for (int64_t layer = 0; layer < runner_.layers(); ++layer) {
    residuals_.push_back(residual);
    runner_.run_layers(sequences_, layer, layer + 1, residual);
    bar.update(layer + 1);
  }
  gradients_ = label_gradients(runner_, runner_.last_norm(sequences_, residual), draws, seed);
  for (auto& gradient : gradients_) gradient = runner_.last_norm_gradient(residual, gradient);
  bar.end();
}

void ScoreGradients::back(const RowsObserver& look, const GradientObserver& observe,
                          const std::function<void()>& done) {
  runner_.run_back(sequences_, layer_, std::move(residuals_.back()), gradients_, look, observe, done);
  residuals_.pop_back();
  --layer_;
}

}  // namespace mxq
