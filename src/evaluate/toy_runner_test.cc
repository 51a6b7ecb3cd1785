// What evaluates a model takes any runner: here one of two tokens, whose next token depends on the last one only.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "evaluate/divergence.h"
#include "evaluate/perplexity.h"
#include "evaluate/sample.h"
#include "evaluate/windows.h"
#include "model/runner/runner.h"
#include "mxq/error.h"

namespace mxq {
namespace {

class ToyCache final : public KvCache {
 public:
  void add(int64_t tokens) { length_ += tokens; }
};

/// Its hidden state of a token is the token.
class ToyRunner final : public Runner {
 public:
  /// `one[i]`: the probability of token 1 behind token i.
  explicit ToyRunner(const std::array<double, 2>& one)
      : Runner({.config = config(), .cache_bytes_per_token = 1}), one_(one) {}

  int64_t resident_bytes() const override { return 0; }
  std::unique_ptr<KvCache> make_cache() const override { return std::make_unique<ToyCache>(); }

  using Runner::hidden;
  std::vector<float> hidden(std::span<const Sequence> sequences) override {
    std::vector<float> states;
    for (const Sequence& sequence : sequences) {
      states.insert(states.end(), sequence.ids.begin(), sequence.ids.end());
      if (sequence.cache != nullptr) static_cast<ToyCache&>(*sequence.cache).add(std::ssize(sequence.ids));
    }
    return states;
  }

  void logits(const float* hidden, int64_t n, float* out) const override {
    for (int64_t i = 0; i < n; ++i) {
      const double p = one_[hidden[i] == 0 ? 0 : 1];
      out[2 * i] = static_cast<float>(std::log(1 - p));
      out[2 * i + 1] = static_cast<float>(std::log(p));
    }
  }

  // It has no layers to look into.
  std::vector<float> embed(std::span<const Sequence>) override { refuse(); }
  std::unique_ptr<KeptInputs> run_and_keep(std::span<const Sequence>, int64_t, std::vector<float>&) override {
    throw std::logic_error("not asked for");
  }
  void run_layers(std::span<const Sequence>, int64_t, int64_t, std::vector<float>&, const MomentsTap&) override {
    refuse();
  }
  std::vector<float> last_norm(std::span<const Sequence>, std::span<const float>) override { refuse(); }
  SecondMoments head_moments(std::span<const Sequence>, std::span<const float>) override { refuse(); }
  std::vector<float> last_norm_gradient(std::span<const float>, std::span<const float>) const override { refuse(); }
  void run_back(std::span<const Sequence>, int64_t, std::vector<float>, std::span<std::vector<float>>,
                const RowsObserver&, const GradientObserver&, const std::function<void()>&) override {
    refuse();
  }
  std::optional<MatrixShape> find_matrix(const std::string&) const override { return std::nullopt; }
  std::span<const float> weights(const std::string&, std::vector<float>&) const override { refuse(); }
  std::unique_ptr<Replacement> make_replacement(const std::string&, std::vector<float>) override { refuse(); }

 private:
  static ModelConfig config() {
    ModelConfig config;
    config.vocab_size = 2;
    config.hidden_size = config.num_hidden_layers = 1;
    return config;
  }
  [[noreturn]] static void refuse() { throw Error(ErrorCode::unsupported, "run a toy", "its layers", "its outputs"); }

  std::array<double, 2> one_;
};

constexpr std::array<double, 2> kOne{0.25, 0.75};

TEST(ToyRunner, PerplexityIsItsFormula) {
  ToyRunner toy(kOne);
  Progress silent;
  const Windows windows = whole_sequences({{0, 0, 1, 1, 0}});
  const Perplexity found = perplexity_of(toy, windows, 2, silent);
  // 0 -> 0, 0 -> 1, 1 -> 1, 1 -> 0.
  EXPECT_NEAR(found.nll, -(std::log(0.75) + std::log(0.25) + std::log(0.75) + std::log(0.25)) / 4, 1e-6);
  EXPECT_EQ(found.windows, 1);
}

TEST(ToyRunner, DivergenceFromAnotherIsItsFormula) {
  ToyRunner base(kOne), model({0.5, 0.75});
  Progress silent;
  const Comparison found = compare(model, {.runner = &base}, whole_sequences({{0, 1, 0, 0, 1}}), 8, silent);
  // Three of the four predictions come behind a 0.
  EXPECT_NEAR(found.kl.mean, 3.0 / 4 * (0.25 * std::log(0.25 / 0.5) + 0.75 * std::log(0.75 / 0.5)), 1e-6);
}

TEST(ToyRunner, SampledTokensHaveItsProbabilities) {
  ToyRunner toy(kOne);
  Progress silent;
  const SelfText text{.sequences = 50, .tokens = 400, .sampling = {.seed = 5}};
  std::array<std::array<int, 2>, 2> counts{};
  for (const auto& ids : sample_sequences(toy, {{0}, {1}}, text, silent)) {
    for (size_t i = 0; i + 1 < ids.size(); ++i) ++counts[static_cast<size_t>(ids[i])][static_cast<size_t>(ids[i + 1])];
  }
  for (size_t last = 0; last < 2; ++last) {
    const int n = counts[last][0] + counts[last][1];
    ASSERT_GT(n, 5000);
    EXPECT_NEAR(counts[last][1], n * kOne[last], 5 * std::sqrt(n * kOne[last] * (1 - kOne[last]))) << last;
  }
}

TEST(ToyRunner, AtTemperatureZeroTokensRepeat) {
  ToyRunner toy(kOne);
  Progress silent;
  const SelfText text{.sequences = 2, .tokens = 5, .sampling = {.temperature = 0}};
  EXPECT_EQ(sample_sequences(toy, {{0}, {1}}, text, silent),
            (std::vector<std::vector<int32_t>>{{0, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1}}));
}

}  // namespace
}  // namespace mxq
