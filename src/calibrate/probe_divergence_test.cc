// Estimated divergences of two-layer models of every architecture against those of whole forward passes.
#include "calibrate/probe_divergence.h"

#include <cmath>
#include <map>
#include <memory>
#include <random>

#include "calibrate/score_gradients.h"
#include "expect_error.h"
#include "kernels/rows.h"
#include "model/tiny_model.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

constexpr int64_t kDraws = 1500;  // the estimates have standard errors of 2 to 6 %

class Sensitivities : public testing::Test {
 protected:
  void open(const std::string& name) {
    TinyModel(name).write(folder_.path());
    model_ = open_model(folder_.path());
    runner_ = make_runner(*model_);
    const auto ids = reference_ids();
    for (size_t i = 0; i + 3 < ids.size(); i += 8)
      sequences_.push_back({ids.begin() + static_cast<long>(i), ids.begin() + static_cast<long>(i + 4)});
  }

  std::vector<float> weights_of(const std::string& name) const {
    const SourceTensor* tensor = model_->find(name + ".weight");
    std::vector<float> weights(static_cast<size_t>(tensor->elements()));
    model_->read(*tensor, weights.data());
    return weights;
  }

  /// Moved by so much, at random.
  std::vector<float> moved(const std::string& name, float amount) const {
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0, amount);
    auto weights = weights_of(name);
    for (float& w : weights) w += normal(random);
    return weights;
  }

  std::vector<Sequence> sequences() const {
    std::vector<Sequence> all;
    for (const auto& ids : sequences_) all.push_back({ids});
    return all;
  }

  std::vector<float> logits(const std::vector<float>& hidden) const {
    const auto n = static_cast<int64_t>(hidden.size()) / runner_->hidden_size();
    std::vector<float> out(static_cast<size_t>(n * runner_->vocab_size()));
    runner_->logits(hidden.data(), n, out.data());
    return out;
  }

  /// The mean over all tokens.
  double divergence(const std::vector<float>& base, const std::vector<float>& other) const {
    const int64_t vocab = runner_->vocab_size(), n = static_cast<int64_t>(base.size()) / vocab;
    double sum = 0;
    for (int64_t r = 0; r < n; ++r) {
      sum += ref::row_divergence(base.data() + r * vocab, other.data() + r * vocab, vocab).kl;
    }
    return sum / static_cast<double>(n);
  }

  /// By a whole forward pass.
  double measured(const std::string& name, const std::vector<float>& weights) {
    const auto base = logits(runner_->hidden(sequences()));
    const auto replacement = runner_->make_replacement(name, weights);
    replacement->swap();
    const auto found = logits(runner_->hidden(sequences()));
    replacement->swap();
    return divergence(base, found);
  }

  TemporaryFolder folder_;
  std::unique_ptr<ModelSource> model_;
  std::unique_ptr<Runner> runner_;
  std::vector<std::vector<int32_t>> sequences_;
  Progress silent_;
};

class SensitivitiesOfEvery : public Sensitivities, public testing::WithParamInterface<std::string> {};

TEST_P(SensitivitiesOfEvery, EqualWholeForwardPasses) {
  open(GetParam());
  // Layers out of order; two of one module; the embedding, which in some is the output matrix too.
  std::vector<std::string> names{std::string(kEmbedding)};
  for (const char* layer : {"1", "0"}) {
    for (const NamedTensor& tensor : layer_tensors(runner_->config(), *layer - '0')) {
      const std::string name = "model.layers." + std::string(layer) + "." + tensor.hf;
      const bool probed = !tensor.tensor->of_expert() || tensor.expert == 1;
      if (probed && tensor.is_matrix() && runner_->find_matrix(name)) names.push_back(name);
    }
  }
  names.push_back(names.back());
  std::vector<Probe> probes;
  // A little, for the estimate is of the second order in the change.
  for (const auto& name : names) probes.push_back({name, [this, name] { return moved(name, 0.002f); }});
  std::map<size_t, double> heard;
  const auto found = probe_divergences(*runner_, sequences_, probes, {.draws = kDraws, .seed = 1, .window = 1000},
                                       silent_, [&](size_t probe, double kl) { heard[probe] = kl; });
  for (size_t i = 0; i < probes.size(); ++i) {
    const double kl = measured(names[i], moved(names[i], 0.002f));
    EXPECT_GT(kl, 5e-8) << names[i];
    EXPECT_NEAR(found[i] / kl, 1, 0.2) << names[i];
    EXPECT_EQ(heard.at(i), found[i]);
  }
  EXPECT_EQ(found[names.size() - 1], found[names.size() - 2]);
}

// Without those whose tokens may change their experts at so small a change: such a jump has no second order.
std::vector<std::string> smooth_models() {
  auto names = model_names();
  std::erase_if(names, [](const std::string& name) {
    return name == "mixtral" || name.starts_with("qwen3_moe") || name == "gpt_oss" || name == "gpt_oss_clamped" ||
           name == "qwen3_next" || name == "qwen3_next_usual" || name == "qwen3_5_moe";
  });
  return names;
}

INSTANTIATE_TEST_SUITE_P(Architectures, SensitivitiesOfEvery, testing::ValuesIn(smooth_models()),
                         [](const auto& param) { return param.param; });

TEST_F(Sensitivities, ScoresSquaredAreTheDivergenceOfMovedStreams) {
  open("llama3");
  sequences_ = {reference_ids()};
  const auto all = sequences();
  ScoreGradients gradients(*runner_, all, kDraws, 7);
  ASSERT_EQ(gradients.layer(), 1);
  gradients.back({}, {});
  ASSERT_EQ(gradients.layer(), 0);
  auto stream = runner_->embed(all);
  runner_->run_layers(all, 0, 1, stream);
  std::mt19937 random(4);
  std::normal_distribution<float> normal(0, 0.002f);
  std::vector<float> change(stream.size()), other = stream;
  for (size_t i = 0; i < change.size(); ++i) other[i] += change[i] = normal(random);
  double squares = 0;
  for (int64_t d = 0; d < kDraws; ++d) {
    const auto& g = gradients.behind(d);
    double sum = 0;
    for (size_t i = 0; i < change.size(); ++i) sum += double{g[i]} * change[i];
    squares += sum * sum / static_cast<double>(kDraws);
  }
  runner_->run_layers(all, 1, 2, stream);
  runner_->run_layers(all, 1, 2, other);
  const double kl = divergence(logits(runner_->last_norm(all, stream)), logits(runner_->last_norm(all, other)));
  EXPECT_NEAR(squares / 2 / static_cast<double>(sequences_[0].size()) / kl, 1, 0.2);
}

TEST_F(Sensitivities, WindowsAreTheirFormula) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const int64_t n : {1, 2, 7, 40}) {
    for (const int64_t window : {1, 3, 16}) {
      std::vector<float> s(static_cast<size_t>(n));
      for (float& x : s) x = normal(random);
      double expected = 0;
      for (int64_t t = 0; t < n; ++t) {
        for (int64_t u = 0; u < n; ++u) {
          const double weight = 1 - static_cast<double>(std::abs(t - u)) / static_cast<double>(window);
          if (weight > 0) expected += 0.5 * weight * s[static_cast<size_t>(t)] * s[static_cast<size_t>(u)];
        }
      }
      EXPECT_NEAR(windowed_divergence(s, window), expected, 1e-6 * static_cast<double>(n)) << n << ", " << window;
    }
  }
}

TEST_F(Sensitivities, ProbesThatAreNoNumbersAreNaNAndHarmNoOther) {
  open("smollm");
  const std::string up = "model.layers.1.mlp.up_proj", down = "model.layers.1.mlp.down_proj";
  const auto broken = [&](const std::string& name) {
    auto weights = weights_of(name);
    weights.back() = std::nanf("");
    return weights;
  };
  const std::vector<Probe> probes{{up, [&] { return moved(up, 0.01f); }},
                                  {down, [&] { return broken(down); }},
                                  {std::string(kEmbedding), [&] { return broken(std::string(kEmbedding)); }}};
  const auto found = probe_divergences(*runner_, sequences_, probes, {}, silent_);
  EXPECT_GT(found[0], 0);
  EXPECT_TRUE(std::isnan(found[1]));
  EXPECT_TRUE(std::isnan(found[2]));
  EXPECT_EQ(found[0], probe_divergences(*runner_, sequences_, std::span(probes).first(1), {}, silent_)[0]);
}

TEST_F(Sensitivities, UnknownMatricesAreRefused) {
  open("smollm");
  const std::vector<Probe> probes{{"model.layers.30.mlp.up_proj", [] { return std::vector<float>(); }}};
  expect_error(ErrorCode::usage, "matrix 'model.layers.30.mlp.up_proj'",
               [&] { probe_divergences(*runner_, sequences_, probes, {}, silent_); });
}

}  // namespace
}  // namespace mxq
