#include "model/runner/cpu/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/parallel.h"

namespace mxq {

namespace {

void softmax(float* row, int64_t n) {
  const float largest = *std::max_element(row, row + n);
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += row[i] = std::exp(row[i] - largest);
  for (int64_t i = 0; i < n; ++i) row[i] /= sum;
}

}  // namespace

Routing route(std::vector<float> products, const Mixture& mixture) {
  const int64_t experts = mixture.experts, picked = mixture.per_token, tokens = std::ssize(products) / experts;
  Routing routing;
  routing.probabilities = std::move(products);
  std::vector<int32_t> best(static_cast<size_t>(tokens * picked));
  parallel_for(tokens, [&](int64_t t) {
    float* const row = routing.probabilities.data() + t * experts;
    softmax(row, experts);
    std::vector<int32_t> order(static_cast<size_t>(experts));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + picked, order.end(),
                      [row](int32_t a, int32_t b) { return row[a] != row[b] ? row[a] > row[b] : a < b; });
    std::copy_n(order.begin(), picked, best.begin() + t * picked);
  });
  routing.tokens.resize(static_cast<size_t>(experts));
  routing.shares.resize(static_cast<size_t>(experts));
  for (int64_t t = 0; t < tokens; ++t) {
    const float* const row = routing.probabilities.data() + t * experts;
    float sum = 0;
    for (int64_t i = 0; i < picked; ++i) sum += row[best[static_cast<size_t>(t * picked + i)]];
    for (int64_t i = 0; i < picked; ++i) {
      const auto expert = static_cast<size_t>(best[static_cast<size_t>(t * picked + i)]);
      routing.tokens[expert].push_back(static_cast<int32_t>(t));
      routing.shares[expert].push_back(mixture.normalised ? row[expert] / sum : row[expert]);
    }
  }
  return routing;
}

std::vector<float> route_back(const Routing& routing, const std::vector<std::vector<float>>& of_shares,
                              const Mixture& mixture) {
  const int64_t experts = mixture.experts;
  const int64_t tokens = std::ssize(routing.probabilities) / experts;
  // With respect to the probabilities: of those picked, s = p, or s = p / sum of p where normalised.
  std::vector<float> gradient(routing.probabilities.size());
  std::vector<float> sums(static_cast<size_t>(tokens)), means(static_cast<size_t>(tokens));
  const auto each = [&](const auto& use) {
    for (size_t e = 0; e < routing.tokens.size(); ++e) {
      for (size_t i = 0; i < routing.tokens[e].size(); ++i) {
        const auto t = static_cast<size_t>(routing.tokens[e][i]);
        use(t, t * static_cast<size_t>(experts) + e, routing.shares[e][i], of_shares[e][i]);
      }
    }
  };
  each([&](size_t t, size_t at, float share, float outer) {
    sums[t] += routing.probabilities[at];
    means[t] += share * outer;
  });
  each([&](size_t t, size_t at, float, float outer) {
    gradient[at] = mixture.normalised ? (outer - means[t]) / sums[t] : outer;
  });
  parallel_for(tokens, [&](int64_t t) {
    const float* const p = routing.probabilities.data() + t * experts;
    float* const row = gradient.data() + t * experts;
    float mean = 0;
    for (int64_t e = 0; e < experts; ++e) mean += p[e] * row[e];
    for (int64_t e = 0; e < experts; ++e) row[e] = p[e] * (row[e] - mean);
  });
  return gradient;
}

}  // namespace mxq
