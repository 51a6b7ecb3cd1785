// The multiple-choice knapsack problem (MCKP): from every class exactly one item, total weight within the capacity,
// smallest total cost. Solved to proved optimality; docs/reference/algorithms.md tells how and cites the sources.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mxq::mckp {

struct Item {
  double cost = 0;     // finite, >= 0
  int64_t weight = 0;  // >= 0
};

struct Problem {
  std::vector<std::vector<Item>> classes;  // none empty
  int64_t capacity = 0;
};

/// What the search may take before it gives up the proof. Both are counted, never timed, so that the same input
/// always gives the same answer.
struct Limits {
  int64_t memory_bytes = int64_t{1} << 30;
  int64_t steps = int64_t{1} << 33;  // states generated and pairs looked at
};

struct Solution {
  std::vector<int32_t> choice;  // index of the item of each class
  double value = 0;             // sum of the costs, added in order of the classes
  double lower_bound = 0;       // proved for every feasible choice; == value where optimal
  int64_t weight = 0;
  int64_t states = 0;  // generated over the whole search, a measure of its work
  bool optimal() const { return lower_bound == value; }
};

/// Costs are doubles, so "optimal" means: no choice is better by more than this part of the value. It covers the
/// rounding of at most `classes` additions (each within 2^-53 of a sum no larger than about three times the value).
double relative_tolerance(size_t classes);

/// Throws Error(infeasible) where not even the lightest items fit, Error(usage) for a cost or weight outside its
/// range, an empty class or sums that int64 or double cannot hold. Where a limit is reached the best choice found is
/// returned with a lower bound that holds (optimal() is then false).
Solution solve(const Problem& problem, const Limits& limits = {});

}  // namespace mxq::mckp
