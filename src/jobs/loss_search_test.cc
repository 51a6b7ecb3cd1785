// The search for the smallest plan within a loss, by losses that are known functions of a plan.
#include "jobs/loss_search.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "expect_error.h"
#include "mxq/error.h"

namespace mxq {
namespace {

/// 40 matrices whose errors fall by a factor of 4 with each bit, as squared errors do.
ErrorTable table() {
  std::mt19937_64 random(11);
  ErrorTable made;
  for (int i = 0; i < 40; ++i) {
    MatrixErrors m;
    m.name = "m" + std::to_string(i);
    m.params = 800 * static_cast<int64_t>(1 + random() % 9);
    m.norm = 1;
    m.sensitivity = 1e-3 * static_cast<double>(1 + random() % 100);
    for (int bits = 2; bits <= 8; ++bits) {
      m.schemes.push_back({"b" + std::to_string(bits) + "g64", m.params * bits / 8, std::ldexp(1.0, -bits), bits, 64});
    }
    made.matrices.push_back(std::move(m));
  }
  return made;
}

struct Searched {
  std::vector<Plan> plans;
  std::vector<double> losses;
  size_t kept = 0;
};

Searched search(double max_loss, const std::function<double(double predicted)>& loss) {
  AllocateOptions options;
  options.objective = Objective::kl;
  Searched found;
  found.kept = search_within_loss(table(), options, max_loss, [&](const Plan& plan) {
    found.plans.push_back(plan);
    found.losses.push_back(loss(plan.value));
    return found.losses.back();
  });
  return found;
}

TEST(LossSearch, KeepsTheSmallestPlanThatItFoundWithinTheLimit) {
  for (const double factor : {0.2, 0.5, 0.98, 1.0, 1.3, 2.5, 6.0}) {
    for (const double power : {0.8, 1.0, 1.2}) {
      for (const double limit : {0.003, 0.01, 0.05}) {
        SCOPED_TRACE(testing::Message() << factor << " * x^" << power << " <= " << limit);
        const auto loss = [&](double x) { return factor * std::pow(x, power); };
        const Searched found = search(limit, loss);
        ASSERT_LT(found.kept, found.plans.size());
        EXPECT_LE(found.losses[found.kept], limit);
        EXPECT_LE(found.plans.size(), 12u);
        for (size_t i = 0; i < found.plans.size(); ++i) {
          const bool smaller = found.plans[i].bytes < found.plans[found.kept].bytes;
          EXPECT_FALSE(smaller && found.losses[i] <= limit) << "trial " << i;
        }
        // Near the smallest that there is, which bisection over all budgets finds.
        const ErrorTable all = table();
        AllocateOptions options;
        options.objective = Objective::kl;
        const ByteRange range = reachable_bytes(all, options);
        int64_t low = range.smallest, high = range.largest;
        while (low < high) {
          const int64_t middle = (low + high) / 2;
          loss(allocate(all, middle, options).value) <= limit ? high = middle : low = middle + 1;
        }
        EXPECT_LE(static_cast<double>(found.plans[found.kept].bytes), 1.02 * static_cast<double>(low));
      }
    }
  }
}

TEST(LossSearch, GoesOnFromModelsThatGiveNoNumbers) {
  const Searched found = search(0.01, [](double x) { return x > 0.002 ? std::numeric_limits<double>::infinity() : x; });
  EXPECT_LE(found.plans[found.kept].value, 0.002);
}

TEST(LossSearch, LimitsThatNoPlanReachesAreSaid) {
  expect_error(ErrorCode::infeasible, "at least 64.9 %, what it is with the largest plan (8.0000 bits per parameter)",
               [] { search(0.01, [](double) { return 0.5; }); });
}

}  // namespace
}  // namespace mxq
