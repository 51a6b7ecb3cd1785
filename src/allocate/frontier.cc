// The best value at every budget: the convex frontier by one greedy walk, and exact plans on a grid between.
#include <fmt/format.h>

#include <algorithm>

#include "allocate/constraints.h"
#include "allocate/hull.h"
#include "base/parallel.h"
#include "mxq/allocate.h"
#include "mxq/error.h"

namespace mxq {

namespace {

/// Budgets: some milliseconds each where there are a thousand matrices.
constexpr int64_t kSolvedAtOnce = 64;

/// The plans that are optimal for some price of a byte, by rising bytes: each step of the walk changes one group.
std::vector<FrontierPoint> convex_points(const std::vector<MatrixGroup>& groups) {
  const mckp::Problem problem = make_problem(groups, 0);
  std::vector<std::vector<mckp::Candidate>> classes;
  int64_t bytes = 0;
  double value = 0;
  for (const auto& items : problem.classes) {
    classes.push_back(mckp::undominated(items));
    bytes = add_bytes(bytes, classes.back().front().weight);
    value += classes.back().front().cost;
  }
  std::vector<FrontierPoint> points{{bytes, 0, value, true}};
  // The running value loses digits as it falls by orders of magnitude; what rounding took is carried along (Neumaier).
  double lost = 0;
  for (const mckp::Increment& step : mckp::greedy_order(classes)) {
    const auto& items = classes[step.group];
    const double change = items[step.to].cost - items[step.from].cost;
    const double next = value + change;
    lost += value >= -change ? (value - next) + change : (change - next) + value;
    value = next;
    bytes = add_bytes(bytes, step.weight);
    points.push_back({bytes, 0, value + lost, true});
  }
  return points;
}

}  // namespace

std::vector<FrontierPoint> frontier(const ErrorTable& table, int grid, const AllocateOptions& options,
                                    Progress* progress) {
  if (grid < 0) throw Error(ErrorCode::usage, "frontier", fmt::format("a grid of {}", grid), "at least 0");
  if (!solver_available(options.solver)) {
    throw Error(ErrorCode::unsupported, "frontier", fmt::format("solver {}", solver_name(options.solver)),
                "solver exact");
  }
  const auto groups = apply_constraints(table, options);
  std::vector<FrontierPoint> points = convex_points(groups);
  const ByteRange range{points.front().bytes, points.back().bytes};

  std::vector<FrontierPoint> exact(static_cast<size_t>(grid));
  const auto solve = [&](int64_t i) {
    const auto step = static_cast<__int128>(range.largest - range.smallest) * i;
    const int64_t budget = range.smallest + (grid == 1 ? 0 : static_cast<int64_t>(step / (grid - 1)));
    const Plan plan = allocate(table, budget, options);
    exact[static_cast<size_t>(i)] = {plan.bytes, 0, plan.value, false};
  };
  Progress& bar = or_silent(progress);
  bar.begin("solve", grid);
  if (options.solver == Solver::exact) {
    // Some at a time: progress is told of by this thread alone.
    for (int64_t first = 0; first < grid; first += kSolvedAtOnce) {
      parallel_for(std::min<int64_t>(kSolvedAtOnce, grid - first), [&](int64_t i) { solve(first + i); });
      bar.update(std::min<int64_t>(grid, first + kSolvedAtOnce));
    }
  } else {
    for (int64_t i = 0; i < grid; ++i) {  // HiGHS keeps a task scheduler of its own
      solve(i);
      bar.update(i + 1);
    }
  }
  bar.end();

  // A plan on the grid that is a vertex too, or that a neighbour on the grid found as well, is listed once.
  points.insert(points.end(), exact.begin(), exact.end());
  std::stable_sort(points.begin(), points.end(),
                   [](const FrontierPoint& a, const FrontierPoint& b) { return a.bytes < b.bytes; });
  points.erase(std::unique(points.begin(), points.end(),
                           [](const FrontierPoint& a, const FrontierPoint& b) { return a.bytes == b.bytes; }),
               points.end());
  double params = 0;
  for (const MatrixErrors& m : table.matrices) params += static_cast<double>(m.params);
  for (FrontierPoint& p : points) {
    p.bits_per_parameter = params > 0 ? static_cast<double>(p.bytes) * 8 / params : 0;
  }
  return points;
}

}  // namespace mxq
