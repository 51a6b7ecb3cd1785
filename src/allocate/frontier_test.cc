#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/parallel.h"
#include "mxq/allocate.h"
#include "mxq/error.h"
#include "paper_tables.h"

namespace mxq {
namespace {

ErrorTable random_table(uint64_t seed, int matrices) {
  std::mt19937_64 random(seed);
  ErrorTable table;
  for (int i = 0; i < matrices; ++i) {
    MatrixErrors m;
    m.name = std::to_string(i);
    m.params = 64 * static_cast<int64_t>(1 + random() % 3);
    m.norm = 10;
    double fnorm = 10;
    for (int bits = 2; bits < 7; ++bits) {
      fnorm *= static_cast<double>(300 + random() % 600) / 1000;
      m.schemes.push_back({"b" + std::to_string(bits), m.params / 8 * bits + 1, fnorm});
    }
    table.matrices.push_back(m);
  }
  return table;
}

/// The Lagrangian's minimum: the least sum of cost + price * bytes over all plans, a matrix at a time.
double lagrangian(const ErrorTable& table, double price) {
  double sum = 0;
  for (const MatrixErrors& m : table.matrices) {
    double least = 1e300;
    for (const SchemeCost& s : m.schemes) {
      least = std::min(least, s.fnorm * s.fnorm + price * static_cast<double>(s.bytes));
    }
    sum += least;
  }
  return sum;
}

AllocateOptions f2() {
  AllocateOptions options;
  options.objective = Objective::f2;
  return options;
}

TEST(Frontier, FallsAndHoldsTheBestPlanOfEveryPoint) {
  const uint64_t seed = 17;
  const ErrorTable table = random_table(seed, 30);
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const auto points = frontier(table, 40, f2());
  const ByteRange range = reachable_bytes(table, f2());
  ASSERT_GT(points.size(), 40u);
  EXPECT_EQ(points.front().bytes, range.smallest);
  EXPECT_EQ(points.back().bytes, range.largest);
  double params = 0;
  for (const auto& m : table.matrices) params += static_cast<double>(m.params);
  for (size_t i = 0; i < points.size(); ++i) {
    const Plan plan = allocate(table, points[i].bytes, f2());
    EXPECT_NEAR(points[i].value, plan.value, 1e-12 * points.front().value);
    EXPECT_DOUBLE_EQ(points[i].bits_per_parameter, static_cast<double>(points[i].bytes) * 8 / params);
    if (i == 0) continue;
    EXPECT_GT(points[i].bytes, points[i - 1].bytes);
    EXPECT_LT(points[i].value, points[i - 1].value);
  }
}

TEST(Frontier, ConvexPointsAreTheLagrangiansMinima) {
  const uint64_t seed = 18;
  const ErrorTable table = random_table(seed, 25);
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  const auto points = frontier(table, 0, f2());
  // For any price some convex point attains the minimum; all of them lie on or above every such line.
  for (double price = 1e-4; price < 100; price *= 1.3) {
    double least = 1e300;
    for (const FrontierPoint& p : points) {
      EXPECT_TRUE(p.convex);
      least = std::min(least, p.value + price * static_cast<double>(p.bytes));
    }
    const double expected = lagrangian(table, price);
    EXPECT_NEAR(least, expected, 1e-11 * expected);
  }
  // And each is the minimum for the price between its neighbours' slopes.
  for (size_t i = 1; i + 1 < points.size(); ++i) {
    const auto slope = [&](size_t a, size_t b) {
      return (points[a].value - points[b].value) / static_cast<double>(points[b].bytes - points[a].bytes);
    };
    const double price = (slope(i - 1, i) + slope(i, i + 1)) / 2, expected = lagrangian(table, price);
    EXPECT_NEAR(points[i].value + price * static_cast<double>(points[i].bytes), expected, 1e-11 * expected);
  }
}

TEST(Frontier, DoesNotDependOnThreads) {
  const ErrorTable table = random_table(19, 20);
  set_threads(1);
  const auto one = frontier(table, 30, f2());
  set_threads(4);
  const auto four = frontier(table, 30, f2());
  set_threads(0);
  ASSERT_EQ(one.size(), four.size());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].bytes, four[i].bytes);
    EXPECT_EQ(one[i].value, four[i].value);
    EXPECT_EQ(one[i].convex, four[i].convex);
  }
}

TEST(Frontier, SmallGrids) {
  const ErrorTable table = random_table(20, 1);
  EXPECT_THROW(frontier(table, -1, f2()), Error);
  EXPECT_FALSE(frontier(table, 1, f2()).empty());
  for (const FrontierPoint& p : frontier(table, 2, f2())) EXPECT_TRUE(p.convex);
}

TEST(Frontier, Llama2) {
  MXQ_NEEDS_SHARED_DATA("mxq-paper/fnorm-Llama-2-7b-hf.csv");
  const ErrorTable table = paper_table("fnorm-Llama-2-7b-hf.csv");
  const auto points = frontier(table, 50);
  for (size_t i = 1; i < points.size(); ++i) {
    ASSERT_GT(points[i].bytes, points[i - 1].bytes);
    ASSERT_LT(points[i].value, points[i - 1].value);
  }
  EXPECT_GT(std::count_if(points.begin(), points.end(), [](auto& p) { return !p.convex; }), 40);
}

}  // namespace
}  // namespace mxq
