#include "allocate/mckp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "allocate/hull.h"
#include "mxq/error.h"

namespace mxq::mckp {
namespace {

using Random = std::mt19937_64;

int64_t pick(Random& random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
}

double uniform(Random& random) {
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

/// The least cost of all choices within the capacity, by trying every one; infinity where none fits.
double brute_force(const Problem& problem, size_t k, int64_t room) {
  if (k == problem.classes.size()) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (const Item& item : problem.classes[k]) {
    if (item.weight <= room) best = std::min(best, item.cost + brute_force(problem, k + 1, room - item.weight));
  }
  return best;
}

/// The same by dynamic programming over every capacity from 0 up.
double table_optimum(const Problem& problem) {
  std::vector<double> best(static_cast<size_t>(problem.capacity) + 1, 0);
  for (const auto& items : problem.classes) {
    std::vector<double> next(best.size(), std::numeric_limits<double>::infinity());
    for (const Item& item : items) {
      for (auto c = static_cast<size_t>(item.weight); c < best.size(); ++c) {
        next[c] = std::min(next[c], best[c - static_cast<size_t>(item.weight)] + item.cost);
      }
    }
    best = next;
  }
  return best.back();
}

/// The same by meeting in the middle: every choice for either half, the halves paired by weight.
double paired_optimum(const Problem& problem) {
  std::vector<std::pair<int64_t, double>> halves[2];
  for (size_t half = 0; half < 2; ++half) {
    halves[half] = {{0, 0.0}};
    for (size_t k = half; k < problem.classes.size(); k += 2) {
      std::vector<std::pair<int64_t, double>> next;
      for (const auto& [weight, cost] : halves[half]) {
        for (const Item& item : problem.classes[k]) next.emplace_back(weight + item.weight, cost + item.cost);
      }
      halves[half] = std::move(next);
    }
    std::sort(halves[half].begin(), halves[half].end());
  }
  double best = std::numeric_limits<double>::infinity(), cheapest = best;
  size_t j = 0;
  for (auto i = halves[0].rbegin(); i != halves[0].rend(); ++i) {
    for (; j < halves[1].size() && i->first + halves[1][j].first <= problem.capacity; ++j) {
      cheapest = std::min(cheapest, halves[1][j].second);
    }
    best = std::min(best, i->second + cheapest);
  }
  return best;
}

int64_t least_weight(const Problem& problem) {
  int64_t sum = 0;
  for (const auto& items : problem.classes) {
    sum += std::min_element(items.begin(), items.end(), [](auto& a, auto& b) { return a.weight < b.weight; })->weight;
  }
  return sum;
}

int64_t most_weight(const Problem& problem) {
  int64_t sum = 0;
  for (const auto& items : problem.classes) {
    sum += std::max_element(items.begin(), items.end(), [](auto& a, auto& b) { return a.weight < b.weight; })->weight;
  }
  return sum;
}

/// A solution says the truth about its choice, fits, and is proved optimal.
void expect_sound(const Problem& problem, const Solution& solution) {
  ASSERT_EQ(solution.choice.size(), problem.classes.size());
  double value = 0;
  int64_t weight = 0;
  for (size_t k = 0; k < problem.classes.size(); ++k) {
    const Item& item = problem.classes[k].at(static_cast<size_t>(solution.choice[k]));
    value += item.cost;
    weight += item.weight;
  }
  EXPECT_EQ(solution.value, value);
  EXPECT_EQ(solution.weight, weight);
  EXPECT_LE(weight, problem.capacity);
  EXPECT_LE(solution.lower_bound, solution.value);
}

void expect_optimum(const Problem& problem, double optimum) {
  if (std::isinf(optimum)) {
    EXPECT_THROW(solve(problem), Error);
    return;
  }
  const Solution solution = solve(problem);
  expect_sound(problem, solution);
  EXPECT_TRUE(solution.optimal());
  EXPECT_LE(std::abs(solution.value - optimum), 1e-12 * optimum) << solution.value << " instead of " << optimum;
}

/// Random classes in one of several characters: independent, correlated, few distinct weights, ties everywhere.
Problem random_problem(Random& random, int64_t classes, int64_t items, int64_t largest_weight) {
  Problem problem;
  const int character = static_cast<int>(random() % 5);
  std::vector<int64_t> weights;
  for (int64_t i = 0; i < items; ++i) weights.push_back(pick(random, 0, largest_weight));
  for (int64_t k = 0; k < classes; ++k) {
    auto& list = problem.classes.emplace_back();
    const int64_t n = character == 2 ? items : pick(random, 1, items);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t weight = character == 2 ? weights[static_cast<size_t>(i)] : pick(random, 0, largest_weight);
      const auto left = static_cast<double>(largest_weight - weight);
      double cost = uniform(random) * 100;
      if (character == 1) cost = left + uniform(random);  // nearly one line
      if (character == 2)
        cost = std::exp(-5.0 * static_cast<double>(weight) / static_cast<double>(largest_weight)) *
               (1 + 0.05 * uniform(random));                               // error tables
      if (character == 3) cost = static_cast<double>(pick(random, 0, 3));  // ties
      if (character == 4) cost = left;                                     // a subset sum
      list.push_back({cost, weight});
    }
  }
  return problem;
}

TEST(Mckp, EqualsBruteForce) {
  const uint64_t seed = 20250101;
  RecordProperty("seed", static_cast<int>(seed));
  Random random(seed);
  for (int round = 0; round < 6000; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", round " << round);
    Problem problem = random_problem(random, pick(random, 1, 6), pick(random, 1, 5), pick(random, 1, 40));
    problem.capacity = pick(random, std::max<int64_t>(0, least_weight(problem) - 1), most_weight(problem) + 1);
    expect_optimum(problem, brute_force(problem, 0, problem.capacity));
    if (HasFailure()) return;
  }
}

TEST(Mckp, EqualsTheTableOverAllCapacities) {
  const uint64_t seed = 20250102;
  RecordProperty("seed", static_cast<int>(seed));
  Random random(seed);
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", round " << round);
    Problem problem = random_problem(random, pick(random, 10, 60), pick(random, 2, 12), pick(random, 5, 60));
    problem.capacity = pick(random, least_weight(problem), most_weight(problem));
    expect_optimum(problem, table_optimum(problem));
    if (HasFailure()) return;
  }
}

TEST(Mckp, EqualsTheTableWhereManyShapesMustBeJoined) {
  const uint64_t seed = 20250103;
  RecordProperty("seed", static_cast<int>(seed));
  Random random(seed);
  for (int round = 0; round < 100; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", round " << round);
    Problem problem;
    const int64_t shapes = pick(random, 4, 9);
    for (int64_t shape = 0; shape < shapes; ++shape) {
      std::vector<int64_t> weights;
      for (int i = 0; i < 4; ++i) weights.push_back(pick(random, 0, 50));
      for (int k = 0; k < 5; ++k) {
        auto& items = problem.classes.emplace_back();
        for (const int64_t w : weights) items.push_back({100.0 / static_cast<double>(w + 1) + uniform(random), w});
      }
    }
    problem.capacity = pick(random, least_weight(problem), most_weight(problem));
    expect_optimum(problem, table_optimum(problem));
    if (HasFailure()) return;
  }
}

TEST(Mckp, EqualsMeetingInTheMiddleWhereStatesNeverCoincide) {
  const uint64_t seed = 20250104;
  RecordProperty("seed", static_cast<int>(seed));
  Random random(seed);
  int64_t most_states = 0;
  for (int round = 0; round < 24; ++round) {
    SCOPED_TRACE(testing::Message() << "seed " << seed << ", round " << round);
    // Costs nearly on one line in the weight, so that neither dominance nor bounds bite.
    const int64_t largest = int64_t{1} << 40, scatter = largest >> (round % 8 * 4 + 6);
    Problem problem;
    for (int k = 0; k < 16; ++k) {
      auto& items = problem.classes.emplace_back();
      for (int i = 0; i < 4; ++i) {
        const int64_t weight = pick(random, 0, largest);
        items.push_back({static_cast<double>(largest - weight + pick(random, 0, scatter)), weight});
      }
    }
    problem.capacity = pick(random, least_weight(problem), most_weight(problem));
    expect_optimum(problem, paired_optimum(problem));
    most_states = std::max(most_states, solve(problem).states);
    if (HasFailure()) return;
  }
  EXPECT_GT(most_states, 50000) << "the instances have become too easy to show anything";
}

TEST(Mckp, CapacityExactlyAtTheLightestAndTheHeaviest) {
  Random random(7);
  for (int round = 0; round < 50; ++round) {
    SCOPED_TRACE(testing::Message() << "seed 7, round " << round);
    Problem problem = random_problem(random, 5, 5, 30);
    problem.capacity = least_weight(problem);
    expect_optimum(problem, brute_force(problem, 0, problem.capacity));
    problem.capacity = most_weight(problem);
    double cheapest = 0;
    for (const auto& items : problem.classes) {
      cheapest += std::min_element(items.begin(), items.end(), [](auto& a, auto& b) { return a.cost < b.cost; })->cost;
    }
    expect_optimum(problem, cheapest);
    problem.capacity = std::numeric_limits<int64_t>::max();
    expect_optimum(problem, cheapest);
  }
}

TEST(Mckp, DegenerateInstances) {
  expect_optimum({{}, 0}, 0);
  expect_optimum({{{{3, 5}}}, 5}, 3);
  EXPECT_THROW(solve({{{{3, 5}}}, 4}), Error);
  EXPECT_THROW(solve({{{{3, 0}}}, -1}), Error);
  expect_optimum({{{{0, 5}, {0, 5}, {0, 9}}}, 7}, 0);
  expect_optimum({{{{2, 1}, {2, 1}, {2, 1}}, {{2, 1}, {2, 1}}}, 2}, 4);
  // All items equal but for weight; all equal in weight but for cost.
  expect_optimum({std::vector<std::vector<Item>>(50, {{1, 3}, {1, 4}, {1, 5}}), 170}, 50);
  expect_optimum({std::vector<std::vector<Item>>(50, {{3, 4}, {1, 4}, {2, 4}}), 200}, 50);
  // Identical classes on one line: 25 of 100 may be heavy.
  expect_optimum({std::vector<std::vector<Item>>(100, {{1, 0}, {0, 2}}), 51}, 75);
}

TEST(Mckp, CostsOfZeroAnd1e300) {
  // The dear items can be avoided: what remains must still be chosen to the last digit.
  Problem problem;
  for (int k = 0; k < 20; ++k) problem.classes.push_back({{1e300, 0}, {1e-3 * (k + 1), 2}, {0, 5}});
  problem.capacity = 20 * 2 + 3 * 7 + 1;
  double expected = 0;  // the seven worst small costs are bought off
  for (int k = 0; k < 13; ++k) expected += 1e-3 * (k + 1);
  expect_optimum(problem, expected);
  // Now they cannot.
  problem.capacity = 38;
  const Solution solution = solve(problem);
  EXPECT_TRUE(solution.optimal());
  EXPECT_DOUBLE_EQ(solution.value, 1e300);
  problem.classes.assign(20, {{1.7e308, 0}});
  EXPECT_THROW(solve(problem), Error);
}

TEST(Mckp, CostsBelowTheSmallestNormalNumber) {
  const double tiny = std::numeric_limits<double>::denorm_min();
  Problem problem;
  for (int k = 0; k < 10; ++k) problem.classes.push_back({{7 * tiny, 0}, {2 * tiny, 2}, {0, 3}});
  for (problem.capacity = 0; problem.capacity <= 30; ++problem.capacity) {
    const Solution solution = solve(problem);
    expect_sound(problem, solution);
    EXPECT_EQ(solution.value, table_optimum(problem));
  }
}

TEST(Mckp, HugeWeights) {
  const int64_t huge = int64_t{1} << 60;
  // 3 classes of up to 2^60 + odd parts, so that no common divisor helps.
  Problem problem;
  for (int64_t k = 0; k < 6; ++k) {
    problem.classes.push_back({{10.0 + static_cast<double>(k), k}, {5, huge / 2 + 7 * k}, {0, huge - 1 - k}});
  }
  for (const int64_t capacity : {int64_t{15}, huge, 3 * huge, 6 * huge, std::numeric_limits<int64_t>::max()}) {
    problem.capacity = capacity;
    expect_optimum(problem, brute_force(problem, 0, capacity));
  }
  problem.classes.assign(9, {{1, huge}, {0, std::numeric_limits<int64_t>::max()}});
  problem.capacity = std::numeric_limits<int64_t>::max();
  EXPECT_THROW(solve(problem), Error);  // nine times 2^60 is more than any capacity
  problem.classes.resize(7);
  expect_optimum(problem, 7);
}

TEST(Mckp, InvalidInputIsRefused) {
  const double nan = std::nan("");
  EXPECT_THROW(solve({{{}}, 5}), Error);
  EXPECT_THROW(solve({{{{nan, 1}}}, 5}), Error);
  EXPECT_THROW(solve({{{{-1, 1}}}, 5}), Error);
  EXPECT_THROW(solve({{{{1, -1}}}, 5}), Error);
  EXPECT_THROW(solve({{{{std::numeric_limits<double>::infinity(), 1}}}, 5}), Error);
}

TEST(Mckp, LimitsGiveAnHonestBound) {
  // Strongly correlated with incommensurable weights: states never coincide.
  Random random(11);
  Problem problem;
  for (int k = 0; k < 60; ++k) {
    auto& items = problem.classes.emplace_back();
    for (int i = 0; i < 4; ++i) {
      const int64_t weight = pick(random, 0, int64_t{1} << 40);
      items.push_back({static_cast<double>((int64_t{1} << 40) - weight + pick(random, 0, 1 << 20)), weight});
    }
  }
  problem.capacity = most_weight(problem) / 2;
  const Solution best = solve(problem);
  ASSERT_TRUE(best.optimal());
  bool limited = false;
  for (const Limits limits : {Limits{1, 1 << 30}, Limits{4096, 1 << 30}, Limits{1 << 20, 1 << 30}, Limits{1 << 30, 1},
                              Limits{1 << 30, 100000}}) {
    const Solution solution = solve(problem, limits);
    expect_sound(problem, solution);
    EXPECT_LE(solution.lower_bound, best.value);
    EXPECT_GE(solution.value, best.value);
    EXPECT_GT(solution.lower_bound, 0.99 * best.value);
    limited |= !solution.optimal();
  }
  EXPECT_TRUE(limited);
}

TEST(Mckp, TheSameInputGivesTheSameChoice) {
  Random random(3);
  Problem problem = random_problem(random, 80, 12, 50);
  problem.capacity = (least_weight(problem) + most_weight(problem)) / 2;
  const Solution once = solve(problem), again = solve(problem);
  EXPECT_EQ(once.choice, again.choice);
  EXPECT_EQ(once.states, again.states);
}

TEST(Hull, KeepsTheLowerConvexVertices) {
  const std::vector<Item> items{{5, 0}, {4, 1}, {4, 2}, {1, 2}, {0.9, 3}, {0, 4}, {0, 5}};
  const auto kept = undominated(items);
  std::vector<int32_t> indices;
  for (const Candidate& c : kept) indices.push_back(c.index);
  EXPECT_THAT(indices, testing::ElementsAre(0, 1, 3, 4, 5));
  EXPECT_THAT(lower_hull(kept), testing::ElementsAre(0, 2, 4));
}

}  // namespace
}  // namespace mxq::mckp
