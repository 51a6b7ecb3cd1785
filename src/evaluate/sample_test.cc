// Drawing tokens: frequencies against probabilities, sequences against the model's own distribution.
#include "evaluate/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "evaluate/real_model.h"
#include "expect_error.h"
#include "model/model_tokenizer.h"

namespace mxq {
namespace {

constexpr int kDraws = 20000;

std::vector<int> histogram(const Sampling& sampling, const std::vector<float>& logits) {
  Sampler sampler(sampling, 0);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < kDraws; ++i) {
    auto row = logits;
    ++counts[static_cast<size_t>(sampler.pick(row.data(), static_cast<int64_t>(row.size())))];
  }
  return counts;
}

/// Within five standard deviations of kDraws draws.
void expect_frequency(int count, double p) {
  EXPECT_NEAR(count, kDraws * p, 5 * std::sqrt(kDraws * p * (1 - p)));
}

TEST(Sampler, FrequenciesAreProbabilities) {
  const std::vector<double> p{0.5, 0.25, 0.15, 0.1};
  std::vector<float> logits;
  for (const double x : p) logits.push_back(static_cast<float>(std::log(x) + 3));
  const auto plain = histogram({.seed = 7}, logits);
  for (size_t i = 0; i < 4; ++i) expect_frequency(plain[i], p[i]);
  // exp(ln p / T) = p^2 at T = 0.5.
  const auto colder = histogram({.temperature = 0.5, .seed = 7}, logits);
  const double squares = 0.25 + 0.0625 + 0.0225 + 0.01;
  for (size_t i = 0; i < 4; ++i) expect_frequency(colder[i], p[i] * p[i] / squares);
  const auto top = histogram({.top_p = 0.7, .seed = 7}, logits);
  expect_frequency(top[0], 0.5 / 0.75);
  expect_frequency(top[1], 0.25 / 0.75);
  EXPECT_EQ(top[2] + top[3], 0);
}

TEST(DegenerateText, IsMostlyRepetition) {
  std::vector<int32_t> counting(200), loop, half, constant(100, 7);
  std::iota(counting.begin(), counting.end(), 0);
  for (int i = 0; i < 200; ++i) loop.push_back(i % 20);
  for (int i = 0; i < 200; ++i) half.push_back(i < 120 ? i : 500 + i % 5);  // ends in a loop
  EXPECT_FALSE(is_degenerate(counting));
  EXPECT_TRUE(is_degenerate(loop));
  EXPECT_TRUE(is_degenerate(constant));
  EXPECT_FALSE(is_degenerate(half)) << "more than half of it is text";
  EXPECT_FALSE(is_degenerate(std::span(constant).first(34))) << "too short to tell";
  EXPECT_TRUE(is_degenerate(std::span(constant).first(35)));
  EXPECT_FALSE(is_degenerate({}));
}

TEST(Sampler, TopPOfManyTokens) {
  // 1,000 tokens of equal probability, their ids scattered among 2,000: a share of 0.3 is the 300 lowest ids of them.
  std::vector<float> logits(2000, -30);
  for (size_t i = 0; i < 1000; ++i) logits[2 * i] = 1;
  const auto counts = histogram({.top_p = 0.2999, .seed = 3}, logits);
  for (size_t i = 0; i < counts.size(); ++i) {
    if (i % 2 == 0 && i < 600) {
      expect_frequency(counts[i], 1.0 / 300);
    } else {
      EXPECT_EQ(counts[i], 0) << i;
    }
  }
}

TEST(Sampler, SeedsAndStreams) {
  const auto draws = [](uint64_t seed, uint64_t stream) {
    Sampler sampler({.seed = seed}, stream);
    std::vector<int32_t> ids;
    for (int i = 0; i < 32; ++i) {
      std::vector<float> logits(1000, 0);
      ids.push_back(sampler.pick(logits.data(), 1000));
    }
    return ids;
  };
  EXPECT_EQ(draws(1, 0), draws(1, 0));
  EXPECT_NE(draws(1, 0), draws(2, 0));
  EXPECT_NE(draws(1, 0), draws(1, 1));
  EXPECT_NE(draws(1, 0), draws(1 + (uint64_t{1} << 32), 0));
}

TEST(Sampler, TheLikeliestAtTemperatureZero) {
  std::vector<float> logits{1, 5, -2, 5};
  EXPECT_EQ(Sampler({.temperature = 0}, 0).pick(logits.data(), 4), 1);
}

TEST(Sampler, WhatMakesNoSenseIsRefused) {
  expect_error(ErrorCode::usage, "temperature -1; expected 0 and above", [] { Sampler({.temperature = -1}, 0); });
  expect_error(ErrorCode::usage, "temperature nan", [] { Sampler({.temperature = std::nan("")}, 0); });
  expect_error(ErrorCode::usage, "temperature inf",
               [] { Sampler({.temperature = std::numeric_limits<double>::infinity()}, 0); });
  for (const double p : {0.0, -0.5, 1.01, std::nan("")}) {
    expect_error(ErrorCode::usage, "top-p ", [p] { Sampler({.top_p = p}, 0); });
  }
  for (const double temperature : {0.0, 1.0}) {
    std::vector<float> logits{1, std::nanf(""), 2};
    expect_error(ErrorCode::not_finite, "the output matrix gives NaN",
                 [&] { Sampler({.temperature = temperature}, 0).pick(logits.data(), 3); });
  }
}

using SelfTexts = RealModel;

TEST_F(SelfTexts, SurprisesAreTheEntropy) {
  const auto runner = make_runner(*model_);
  const SelfText text{.sequences = 6, .tokens = 40, .sampling = {.seed = 5}};
  const auto sequences = sample_sequences(*runner, {{1}, {2}}, text, silent_);
  ASSERT_EQ(sequences.size(), 6u);
  EXPECT_NE(sequences[0], sequences[2]);
  // For each token drawn from p, -ln p(token) has mean H(p) and a variance known from p.
  const auto vocab = static_cast<size_t>(runner->vocab_size());
  double surprise = 0, entropy = 0, variance = 0;
  for (size_t s = 0; s < 6; ++s) {
    const auto& ids = sequences[s];
    ASSERT_EQ(ids.size(), 41u);
    EXPECT_EQ(ids[0], s % 2 == 0 ? 1 : 2);
    const auto hidden = runner->hidden(ids);
    std::vector<float> logits(ids.size() * vocab);
    runner->logits(hidden.data(), static_cast<int64_t>(ids.size()), logits.data());
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const float* row = logits.data() + i * vocab;
      double sum = 0, mean = 0, square = 0;
      for (size_t j = 0; j < vocab; ++j) sum += std::exp(static_cast<double>(row[j]));
      for (size_t j = 0; j < vocab; ++j) {
        const double loss = std::log(sum) - row[j];
        mean += std::exp(-loss) * loss;
        square += std::exp(-loss) * loss * loss;
      }
      surprise += std::log(sum) - row[ids[i + 1]];
      entropy += mean;
      variance += square - mean * mean;
    }
  }
  EXPECT_NEAR(surprise, entropy, 4 * std::sqrt(variance));
  EXPECT_GT(entropy, 100);  // else the bound would say little
}

TEST_F(SelfTexts, AtTemperatureZeroEachTokenIsTheLikeliest) {
  const auto runner = make_runner(*model_, {Compute::f32, true});
  const SelfText text{.sequences = 2, .tokens = 6, .sampling = {.temperature = 0}};
  for (const auto& ids : sample_sequences(*runner, {{1}, {2}}, text, silent_)) {
    const auto hidden = runner->hidden(ids);
    std::vector<float> logits(static_cast<size_t>(runner->vocab_size()));
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      runner->logits(hidden.data() + i * static_cast<size_t>(runner->hidden_size()), 1, logits.data());
      EXPECT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(), ids[i + 1]);
    }
  }
}

TEST_F(SelfTexts, FirstSequencesHaveATopPOfTheirOwn) {
  const auto runner = make_runner(*model_, {Compute::f32, true});
  SelfText text{.sequences = 3, .tokens = 6, .sampling = {.top_p = 0.5, .seed = 3}};
  const auto half = sample_sequences(*runner, {{1}, {2}}, text, silent_);
  text.sampling.top_p = 1;
  text.first_top_p = {0.5, 1e-9};
  const auto first = sample_sequences(*runner, {{1}, {2}}, text, silent_);
  text.first_top_p.clear();
  const auto one = sample_sequences(*runner, {{1}, {2}}, text, silent_);
  text.sampling.temperature = 0;
  const auto greedy = sample_sequences(*runner, {{1}, {2}}, text, silent_);
  EXPECT_EQ(first[0], half[0]);
  EXPECT_EQ(first[1], greedy[1]);
  EXPECT_EQ(first[2], one[2]);
  EXPECT_NE(half[0], one[0]);
}

TEST_F(SelfTexts, PromptsOfAnyLengthAreGoneOnWith) {
  const auto runner = make_runner(*model_, {Compute::f32, true});
  const SelfText text{.sequences = 2, .tokens = 4, .sampling = {.temperature = 0}};
  const std::vector<std::vector<int32_t>> prompts{{ids_.begin(), ids_.begin() + 9}, {1}};
  const auto sequences = sample_sequences(*runner, prompts, text, silent_);
  for (size_t s = 0; s < 2; ++s) {
    auto ids = prompts[s];
    std::vector<float> logits(static_cast<size_t>(runner->vocab_size()));
    for (int i = 0; i < 4; ++i) {
      const auto hidden = runner->hidden(ids);
      runner->logits(hidden.data() + hidden.size() - static_cast<size_t>(runner->hidden_size()), 1, logits.data());
      ids.push_back(static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
    }
    EXPECT_EQ(sequences[s], ids);
  }
}

TEST_F(SelfTexts, RandomPromptsAreEvenlyDrawn) {
  const auto tokenizer = open_model_tokenizer(*model_);
  TokenFacts tokens = token_facts(*model_, tokenizer.get());
  constexpr int64_t kDraws = 4000, kVocab = 49152;
  const auto prompts = random_prompts(tokens, {.sequences = kDraws, .tokens = 1, .sampling = {}});
  ASSERT_EQ(prompts.size(), static_cast<size_t>(kDraws));
  double sum = 0;
  for (const auto& prompt : prompts) {
    ASSERT_EQ(prompt.size(), 1u) << "this tokenizer adds no BOS";
    ASSERT_GE(prompt.front(), 0);
    ASSERT_LT(prompt.front(), kVocab);
    sum += prompt.front();
  }
  // The mean of n even draws from [0, v) is v / 2 within v / sqrt(12 n).
  EXPECT_NEAR(sum / kDraws, kVocab / 2.0, 4 * kVocab / std::sqrt(12.0 * kDraws));
  EXPECT_EQ(prompts, random_prompts(tokens, {.sequences = kDraws, .tokens = 1, .sampling = {}}));
  EXPECT_NE(prompts, random_prompts(tokens, {.sequences = kDraws, .tokens = 1, .sampling = {.seed = 1}}));
  // An embedding of fewer rows than the tokenizer has tokens.
  tokens.count = 5;
  for (const auto& prompt : random_prompts(tokens, {.sequences = 50, .tokens = 1, .sampling = {}})) {
    EXPECT_LT(prompt.front(), 5);
  }
}

TEST_F(SelfTexts, WhatMakesNoSenseIsRefused) {
  const auto runner = make_runner(*model_, {Compute::f32, true});
  expect_error(ErrorCode::usage, "0 sequences of 5 tokens",
               [&] { sample_sequences(*runner, {{1}}, {.sequences = 0, .tokens = 5, .sampling = {}}, silent_); });
  expect_error(ErrorCode::usage, "2 sequences of 0 tokens",
               [&] { sample_sequences(*runner, {{1}}, {.sequences = 2, .tokens = 0, .sampling = {}}, silent_); });
}

}  // namespace
}  // namespace mxq
