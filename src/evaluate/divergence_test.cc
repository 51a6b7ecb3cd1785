// KL divergence and its companions against plain sums over all logits in double.
#include "evaluate/divergence.h"

#include <algorithm>
#include <cmath>

#include "evaluate/real_model.h"
#include "expect_error.h"
#include "kernels/matmul.h"

namespace mxq {
namespace {

std::vector<std::vector<double>> log_probabilities(Runner& runner, std::span<const int32_t> ids) {
  const auto hidden = runner.hidden(ids);
  const auto vocab = static_cast<size_t>(runner.vocab_size());
  std::vector<std::vector<double>> rows;
  std::vector<float> logits(vocab);
  for (size_t i = 0; i < ids.size(); ++i) {
    runner.logits(hidden.data() + i * static_cast<size_t>(runner.hidden_size()), 1, logits.data());
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x));
    auto& row = rows.emplace_back();
    for (const float x : logits) row.push_back(x - std::log(sum));
  }
  return rows;
}

using Divergences = RealModel;

TEST_F(Divergences, EqualPlainSums) {
  if (!bf16_matmul_supported()) GTEST_SKIP() << "no AVX-512 for the second model";
  const auto base = make_runner(*model_), model = make_runner(*model_, {Compute::bf16, false});
  const auto ids = first(48);
  const Windows windows = cut_windows(ids, {}, -1);
  const Comparison found = compare(*model, {.runner = base.get()}, windows, 1024, silent_);

  const auto p = log_probabilities(*base, ids), q = log_probabilities(*model, ids);
  PredictionPairs plain;
  for (size_t i = 0; i + 1 < ids.size(); ++i) {
    double kl = 0;
    for (size_t j = 0; j < p[i].size(); ++j) kl += std::exp(p[i][j]) * (p[i][j] - q[i][j]);
    plain.kl.push_back(kl);
    const auto target = static_cast<size_t>(ids[i + 1]);
    plain.base_loss.push_back(-p[i][target]);
    plain.loss.push_back(-q[i][target]);
    const auto top = [i](const auto& rows) {
      return std::max_element(rows[i].begin(), rows[i].end()) - rows[i].begin();
    };
    plain.same_top.push_back(top(p) == top(q));
  }
  const Divergence expected = divergence_of(plain, std::vector<double>(47, 1.0 / 47));
  EXPECT_GT(expected.mean, 1e-5);  // else the comparison would be one of rounding
  EXPECT_NEAR(found.kl.mean, expected.mean, 1e-6 + 0.02 * expected.mean);
  EXPECT_NEAR(found.kl.median, expected.median, 1e-6 + 0.02 * expected.median);
  EXPECT_NEAR(found.kl.p99, expected.p99, 1e-6 + 0.05 * expected.p99);
  EXPECT_EQ(found.kl.top1_agreement, expected.top1_agreement);
  EXPECT_NEAR(found.kl.ln_ppl_ratio, expected.ln_ppl_ratio, 2e-4);
  EXPECT_NEAR(found.kl.ln_ppl_ratio, std::log(found.model.perplexity / found.base.perplexity), 1e-12);
}

TEST_F(Divergences, AModelAgainstItselfLosesNothing) {
  const auto base = make_runner(*model_), model = make_runner(*model_, {Compute::f32, true});
  PerplexityOptions options;
  options.window = 32;
  const Windows windows = cut_windows(first(100), options, -1);
  const Comparison same = compare(*base, {.runner = base.get()}, windows, 64, silent_);
  EXPECT_EQ(same.kl.max, 0);
  EXPECT_EQ(same.kl.top1_agreement, 1);
  EXPECT_EQ(same.kl.ln_ppl_ratio, 0);
  EXPECT_EQ(same.kl.ln_ppl_ratio_error, 0);
  const Comparison packed = compare(*model, {.runner = base.get()}, windows, 64, silent_);
  EXPECT_LT(packed.kl.max, 1e-6);
  EXPECT_EQ(packed.kl.top1_agreement, 1);
  EXPECT_NEAR(packed.kl.ln_ppl_ratio, 0, 1e-6);
}

TEST(DivergenceOfPairs, ByFormula) {
  PredictionPairs pairs;
  for (int i = 0; i <= 100; ++i) {
    pairs.kl.push_back((i * 37) % 101);  // 0 to 100 in another order
    pairs.base_loss.push_back(2);
    pairs.loss.push_back(i % 2 == 0 ? 2.5 : 2.1);
    pairs.same_top.push_back(i < 81);
  }
  const Divergence found = divergence_of(pairs, std::vector<double>(101, 1.0 / 101));
  EXPECT_NEAR(found.mean, 50, 1e-12);
  EXPECT_NEAR(found.mean_error, std::sqrt((101.0 * 101 - 1) / 12 * 101 / 100 / 101), 1e-9);  // of 0, 1, ..., 100
  EXPECT_DOUBLE_EQ(found.median, 50);
  EXPECT_DOUBLE_EQ(found.p99, 99);
  EXPECT_EQ(found.max, 100);
  EXPECT_NEAR(found.top1_agreement, 81.0 / 101, 1e-12);
  EXPECT_NEAR(found.top1_error, std::sqrt(81.0 / 101 * 20 / 101 / 100), 1e-12);
  const double mean = (51 * 0.5 + 50 * 0.1) / 101;
  EXPECT_NEAR(found.ln_ppl_ratio, mean, 1e-12);
  const double squares = 51 * std::pow(0.5 - mean, 2) + 50 * std::pow(0.1 - mean, 2);
  EXPECT_NEAR(found.ln_ppl_ratio_error, std::sqrt(squares / 100 / 101), 1e-12);
}

}  // namespace
}  // namespace mxq
