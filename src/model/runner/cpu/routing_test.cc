// Experts of tokens and their shares against the formula.
#include "model/runner/cpu/routing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace mxq {
namespace {

// Two tokens; of the second the largest two are equal.
const std::vector<float> kProducts{0.5f, 2, -1, 1, 3, -2, 3, 0};

double probability(size_t token, size_t expert) {
  double sum = 0;
  for (size_t e = 0; e < 4; ++e) sum += std::exp(double{kProducts[4 * token + e]});
  return std::exp(double{kProducts[4 * token + expert]}) / sum;
}

TEST(Routing, TakesTheLargestAndOfEqualOnesTheFirst) {
  const Routing two = route(kProducts, {.experts = 4, .per_token = 2, .normalised = false});
  EXPECT_EQ(two.tokens, (std::vector<std::vector<int32_t>>{{1}, {0}, {1}, {0}}));
  const Routing one = route(kProducts, {.experts = 4, .per_token = 1});
  EXPECT_EQ(one.tokens, (std::vector<std::vector<int32_t>>{{1}, {0}, {}, {}}));
  EXPECT_EQ(one.shares, (std::vector<std::vector<float>>{{1}, {1}, {}, {}}));
}

TEST(Routing, SharesAreProbabilitiesOrPartsOfOne) {
  for (const bool normalised : {false, true}) {
    const Routing routing = route(kProducts, {.experts = 4, .per_token = 2, .normalised = normalised});
    const auto whole = [&](size_t token, size_t a, size_t b) {
      return normalised ? probability(token, a) + probability(token, b) : 1;
    };
    EXPECT_NEAR(routing.shares[1][0], probability(0, 1) / whole(0, 1, 3), 1e-6);
    EXPECT_NEAR(routing.shares[3][0], probability(0, 3) / whole(0, 1, 3), 1e-6);
    EXPECT_NEAR(routing.shares[0][0], probability(1, 0) / whole(1, 0, 2), 1e-6);
    EXPECT_NEAR(routing.shares[2][0], probability(1, 2) / whole(1, 0, 2), 1e-6);
  }
}

// Differences of the shares' weighted sum, which the experts do not change on the way.
TEST(Routing, GradientsAreSlopes) {
  for (const bool normalised : {false, true}) {
    const Mixture mixture{.experts = 4, .per_token = 2, .normalised = normalised};
    std::vector<float> products = kProducts;
    products[6] = 2.5f;  // no longer equal
    const std::vector<std::vector<float>> outer{{0.7f}, {-1.5f}, {2}, {0.3f}};
    const auto value = [&](const std::vector<float>& at) {
      const Routing routing = route(at, mixture);
      double sum = 0;
      for (size_t e = 0; e < 4; ++e) {
        for (size_t i = 0; i < routing.shares[e].size(); ++i) sum += double{outer[e][i]} * routing.shares[e][i];
      }
      return sum;
    };
    const auto gradient = route_back(route(products, mixture), outer, mixture);
    for (size_t i = 0; i < products.size(); ++i) {
      auto more = products, less = products;
      more[i] += 0.01f;
      less[i] -= 0.01f;
      EXPECT_NEAR(gradient[i], (value(more) - value(less)) / 0.02, 1e-4) << i;
    }
  }
}

}  // namespace
}  // namespace mxq
