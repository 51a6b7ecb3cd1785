// Perplexity against figures that transformers produced, and against logits summed up plainly.
#include "evaluate/perplexity.h"

#include <cmath>

#include "evaluate/real_model.h"
#include "expect_error.h"
#include "mxq/runtime.h"

namespace mxq {
namespace {

/// fp32 products of other shapes add up in another order: 1.5e-5 seen where they have no AVX-512.
constexpr double kRounding = 5e-5;

/// -ln p(ids[i + 1]) for each i, in double from all logits at once.
std::vector<double> plain_losses(Runner& runner, std::span<const int32_t> ids) {
  const auto hidden = runner.hidden(ids);
  const auto n = ids.size();
  const auto vocab = static_cast<size_t>(runner.vocab_size());
  std::vector<float> logits(n * vocab);
  runner.logits(hidden.data(), static_cast<int64_t>(n), logits.data());
  std::vector<double> losses;
  for (size_t i = 0; i + 1 < n; ++i) {
    double sum = 0;
    for (size_t j = 0; j < vocab; ++j) sum += std::exp(static_cast<double>(logits[i * vocab + j]));
    losses.push_back(std::log(sum) - logits[i * vocab + static_cast<size_t>(ids[i + 1])]);
  }
  return losses;
}

using Perplexities = RealModel;

TEST_F(Perplexities, EqualTransformers) {
  const auto runner = make_runner(*model_);
  for (const int windows : {4, 16}) {
    const double expected = reference_["hf_recipe_1024_512"]["windows_" + std::to_string(windows)];
    const auto tokens = static_cast<size_t>(1024 + (windows - 1) * 512);
    const Perplexity found = perplexity_of(*runner, cut_windows(first(tokens), {}, -1), 1024, silent_);
    EXPECT_EQ(found.windows, windows);
    EXPECT_EQ(found.tokens, tokens);
    EXPECT_NEAR(found.perplexity / expected, 1, 1e-4);
    std::printf("perplexity of %d windows %.6f, transformers %.6f\n", windows, found.perplexity, expected);
  }
}

TEST_F(Perplexities, LlamaCppsRecipeByPlainSums) {
  const auto runner = make_runner(*model_);
  PerplexityOptions options;
  options.recipe = Recipe::llama_cpp;
  options.window = 32;
  const int32_t bos = 1;
  const Perplexity found = perplexity_of(*runner, cut_windows(first(100), options, bos), 64, silent_);
  double sum = 0, squares = 0;
  for (size_t chunk = 0; chunk < 3; ++chunk) {
    std::vector<int32_t> ids(ids_.begin() + static_cast<int64_t>(32 * chunk),
                             ids_.begin() + static_cast<int64_t>(32 * chunk + 32));
    ids[0] = bos;
    const auto losses = plain_losses(*runner, ids);
    for (size_t i = 16; i < 31; ++i) {
      sum += losses[i];
      squares += losses[i] * losses[i];
    }
  }
  const double n = 3 * 15, nll = sum / n;
  EXPECT_EQ(found.tokens, 45);
  EXPECT_EQ(found.windows, 3);
  EXPECT_NEAR(found.nll, nll, kRounding);
  EXPECT_NEAR(found.perplexity, std::exp(nll), kRounding * std::exp(nll));
  // As llama-perplexity reckons it.
  EXPECT_NEAR(found.standard_error, std::exp(nll) * std::sqrt((squares / n - nll * nll) / (n - 1)), 1e-3);
}

TEST_F(Perplexities, BatchesAndThreadsChangeNothing) {
  for (const bool packed : {false, true}) {
    const auto runner = make_runner(*model_, {Compute::f32, packed});
    for (const Recipe recipe : {Recipe::hf, Recipe::llama_cpp}) {
      PerplexityOptions options;
      options.recipe = recipe;
      options.window = 24;
      const Windows windows = cut_windows(first(100), options, -1);
      const Perplexity one = perplexity_of(*runner, windows, 1, silent_);
      for (const int64_t batch : {50, 1000}) {
        EXPECT_NEAR(perplexity_of(*runner, windows, batch, silent_).perplexity / one.perplexity, 1, kRounding) << batch;
      }
      for (const int n : {1, 2}) {
        set_threads(n);
        EXPECT_NEAR(perplexity_of(*runner, windows, 50, silent_).perplexity / one.perplexity, 1, kRounding) << n;
      }
      set_threads(0);
    }
  }
}

TEST_F(Perplexities, AWindowOfTheWholeTextEqualsPlainSums) {
  const auto runner = make_runner(*model_, {Compute::f32, true});
  const Perplexity found = perplexity_of(*runner, cut_windows(first(40), {}, -1), 1024, silent_);
  double sum = 0;
  for (const double loss : plain_losses(*runner, first(40))) sum += loss;
  EXPECT_NEAR(found.nll, sum / 39, kRounding);
}

TEST_F(Perplexities, TokensOutsideTheVocabularyAreRefused) {
  const auto runner = make_runner(*model_, {Compute::f32, true});
  const std::vector<int32_t> outside{1, 49152};
  expect_error(ErrorCode::usage, "token id 49152; expected 0 to 49151",
               [&] { perplexity_of(*runner, cut_windows(outside, {}, -1), 1024, silent_); });
}

TEST(PerplexityOfLosses, NamesWhatIsNoNumber) {
  const Windows windows = whole_sequences({{1, 2, 3}});
  EXPECT_NEAR(perplexity_of_losses(windows, std::vector<double>{1, 2}, 1).perplexity, std::exp(1.5), 1e-12);
  expect_error(ErrorCode::not_finite, "the model, window 0, token 2 (id 3): the output matrix gives NaN", [&] {
    perplexity_of_losses(windows, std::vector<double>{1, std::nan("")}, 1);
  });
  expect_error(ErrorCode::not_finite, "perplexity exp(10000); the largest loss is 10000 at window 0, token 1", [&] {
    perplexity_of_losses(windows, std::vector<double>{1e4, 1e4}, 1);
  });
}

}  // namespace
}  // namespace mxq
