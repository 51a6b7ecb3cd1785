#include "allocate/highs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "mxq/allocate.h"
#include "mxq/error.h"
#include "paper_tables.h"

namespace mxq {
namespace {

TEST(Highs, IsRefusedWhereAbsent) {
  if (highs_available()) GTEST_SKIP() << "this build has HiGHS";
  EXPECT_FALSE(solver_available(Solver::highs));
  ErrorTable table{{MatrixErrors{"m", "", "m", 0, 0, 8, 1, 0, {{"b4g64", 4, 1}}}}};
  AllocateOptions options;
  options.solver = Solver::highs;
  for (int call = 0; call < 2; ++call) {
    try {
      if (call == 0) allocate(table, 10, options);
      if (call == 1) frontier(table, 10, options);
      FAIL() << "no error";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::unsupported);
      EXPECT_THAT(e.what(), testing::HasSubstr("solver exact"));
    }
  }
}

TEST(Highs, AgreesOnRandomProblems) {
  if (!highs_available()) GTEST_SKIP() << "this build has no HiGHS";
  const uint64_t seed = 23;
  RecordProperty("seed", static_cast<int>(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 40; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", round " << round);
    mckp::Problem problem;
    int64_t least = 0, most = 0;
    for (uint64_t k = 5 + random() % 30; k > 0; --k) {
      auto& items = problem.classes.emplace_back();
      const auto unit = static_cast<int64_t>(1 + random() % 4) << 20;
      double cost = 100;
      for (int i = 0; i < 6; ++i) {
        cost *= static_cast<double>(200 + random() % 700) / 1000;
        items.push_back({cost, unit * (2 * i + 3) + 7});
      }
      least += items.front().weight;
      most += items.back().weight;
    }
    problem.capacity = least + static_cast<int64_t>(random() % static_cast<uint64_t>(most - least));
    const auto own = mckp::solve(problem), peer = solve_with_highs(problem);
    EXPECT_TRUE(own.optimal());
    EXPECT_LE(peer.weight, problem.capacity);
    EXPECT_LE(peer.lower_bound, peer.value);
    EXPECT_NEAR(peer.value, own.value, 1e-7 * own.value);
    if (HasFailure()) return;
  }
}

TEST(Highs, MakesTheSamePlan) {
  if (!highs_available()) GTEST_SKIP() << "this build has no HiGHS";
  MXQ_NEEDS_SHARED_DATA("mxq-paper/fnorm-CLIP-ViT-B-32-laion2B-s34B-b79K.csv");
  const ErrorTable table = paper_table("fnorm-CLIP-ViT-B-32-laion2B-s34B-b79K.csv");
  AllocateOptions options;
  const int64_t budget = uniform_plan(table, "b3g64").bytes;
  const Plan own = allocate(table, budget, options);
  options.solver = Solver::highs;
  const Plan peer = allocate(table, budget, options);
  EXPECT_EQ(peer.solver, Solver::highs);
  EXPECT_EQ(peer.gap, 0);
  EXPECT_NEAR(peer.value, own.value, 1e-7 * own.value);
}

}  // namespace
}  // namespace mxq
