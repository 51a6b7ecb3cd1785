// What tokens count, against what the model says where the residual stream is moved at one of them.
#include "calibrate/token_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <random>

#include "kernels/rows.h"
#include "model/tiny_model.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

class TokenWeightsOf : public testing::Test {
 protected:
  void open(const std::string& name) {
    TinyModel(name).write(folder_.path());
    model_ = open_model(folder_.path());
    runner_ = make_runner(*model_);
  }

  std::vector<float> logits(const std::vector<float>& hidden) const {
    const auto n = static_cast<int64_t>(hidden.size()) / runner_->hidden_size();
    std::vector<float> out(static_cast<size_t>(n * runner_->vocab_size()));
    runner_->logits(hidden.data(), n, out.data());
    return out;
  }

  /// The divergence of all outputs, where the stream behind a layer is moved by 1 at one token, in the mean over
  /// directions, to second order.
  double cost(const Sequence& sequence, int64_t layer, int64_t token) {
    const std::span all(&sequence, 1);
    auto stream = runner_->embed(all);
    runner_->run_layers(all, 0, layer + 1, stream);
    const int64_t width = runner_->hidden_size(), vocab = runner_->vocab_size();
    const auto outputs = [&](std::vector<float> from) {
      runner_->run_layers(all, layer + 1, runner_->layers(), from);
      return logits(runner_->last_norm(all, from));
    };
    const auto base = outputs(stream);
    constexpr float kStep = 0.01f;
    double sum = 0;
    for (int64_t i = 0; i < width; ++i) {
      auto moved = stream;
      moved[static_cast<size_t>(token * width + i)] += kStep;
      const auto found = outputs(std::move(moved));
      for (size_t t = 0; t < sequence.ids.size(); ++t) {
        const auto at = static_cast<int64_t>(t) * vocab;
        sum += ref::row_divergence(base.data() + at, found.data() + at, vocab).kl;
      }
    }
    return sum / (kStep * kStep) / static_cast<double>(width);
  }

  TemporaryFolder folder_;
  std::unique_ptr<ModelSource> model_;
  std::unique_ptr<Runner> runner_;
  Progress silent_;
};

TEST_F(TokenWeightsOf, AreWhatMovingTheStreamCosts) {
  for (const char* name : {"llama3", "gemma3", "qwen2_moe"}) {
    open(name);
    const auto ids = reference_ids();
    const TokenSequences text{{ids.begin(), ids.begin() + 6}, {ids.begin() + 6, ids.begin() + 10}};
    constexpr int kSeeds = 6000;
    TokenWeights squares(static_cast<size_t>(runner_->layers()), std::vector<float>(10));
    for (int seed = 0; seed < kSeeds; ++seed) {
      const TokenWeights weights = gradient_norms(*runner_, text, static_cast<uint64_t>(1000 * seed), silent_);
      ASSERT_EQ(weights.size(), squares.size());
      for (size_t layer = 0; layer < weights.size(); ++layer) {
        ASSERT_EQ(weights[layer].size(), 10u);
        for (size_t t = 0; t < 10; ++t) squares[layer][t] += weights[layer][t] * weights[layer][t] / kSeeds;
      }
    }
    for (int64_t layer = 0; layer < runner_->layers(); ++layer) {
      std::vector<double> costs;
      for (const auto& sequence : text) {
        for (int64_t t = 0; t < std::ssize(sequence); ++t) costs.push_back(cost({sequence}, layer, t));
      }
      const auto& found = squares[static_cast<size_t>(layer)];
      const double scale =
          std::accumulate(found.begin(), found.end(), 0.0) / std::accumulate(costs.begin(), costs.end(), 0.0);
      for (size_t t = 0; t < costs.size(); ++t) {
        EXPECT_NEAR(found[t] / (scale * costs[t]), 1, 0.25) << name << ", layer " << layer << ", token " << t;
      }
    }
  }
}

TEST_F(TokenWeightsOf, AreTheSameForAJobThatAsksAgain) {
  TinyModel("llama3").write(folder_.path());
  const Model opened(folder_.path());
  Model::State& state = opened.state();
  Runner& runner = state.runner(state.run(), silent_);
  const TokenSequences text{reference_ids()}, other{{1, 2, 3}};
  EXPECT_TRUE(token_weights(state, runner, text, TokenWeighting::even, silent_).empty());
  const TokenWeights& first = token_weights(state, runner, text, TokenWeighting::gradient, silent_);
  for (const auto& of_layer : first) {
    ASSERT_EQ(of_layer.size(), text[0].size());
    EXPECT_NEAR(std::accumulate(of_layer.begin(), of_layer.end(), 0.0) / static_cast<double>(of_layer.size()), 1, 1e-5);
  }
  EXPECT_NE(&token_weights(state, runner, other, TokenWeighting::gradient, silent_), &first);
  EXPECT_EQ(&token_weights(state, runner, text, TokenWeighting::gradient, silent_), &first);
}

}  // namespace
}  // namespace mxq
