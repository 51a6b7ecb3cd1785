#include "allocate/mckp.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <span>

#include "allocate/core.h"
#include "allocate/hull.h"
#include "mxq/error.h"

namespace mxq::mckp {

namespace {

constexpr const char* kOperation = "solve the knapsack problem";

int64_t lightest(const std::vector<Item>& items) {
  return std::min_element(items.begin(), items.end(), [](auto& a, auto& b) { return a.weight < b.weight; })->weight;
}

/// Returns the largest cost.
double check(const Problem& problem) {
  double largest = 0, sum = 0;
  for (size_t k = 0; k < problem.classes.size(); ++k) {
    if (problem.classes[k].empty()) {
      throw Error(ErrorCode::usage, kOperation, fmt::format("class {} has no items", k), "at least one a class");
    }
    double costliest = 0;
    for (const Item& item : problem.classes[k]) {
      if (!std::isfinite(item.cost) || item.cost < 0) {
        throw Error(ErrorCode::usage, kOperation, fmt::format("class {} has an item of cost {}", k, item.cost),
                    "finite costs of at least 0");
      }
      if (item.weight < 0) {
        throw Error(ErrorCode::usage, kOperation, fmt::format("class {} has an item of weight {}", k, item.weight),
                    "weights of at least 0");
      }
      costliest = std::max(costliest, item.cost);
    }
    largest = std::max(largest, costliest);
    sum += costliest;
  }
  if (!std::isfinite(sum)) {
    throw Error(ErrorCode::usage, kOperation, "the sum of the largest costs overflows", "sums below 1.79e308");
  }
  return largest;
}

/// The problem with the lightest item's weight taken off every class, the weights' common divisor taken out, and
/// dominated and unaffordable items left out.
struct Reduced {
  std::vector<std::vector<Candidate>> classes;
  std::vector<int32_t> shape;
  int64_t capacity = 0;
};

Reduced reduce(const Problem& problem) {
  Reduced reduced;
  int64_t least = 0;
  bool overflow = false;
  for (const auto& items : problem.classes) overflow |= __builtin_add_overflow(least, lightest(items), &least);
  if (overflow || least > problem.capacity) {
    throw Error(ErrorCode::infeasible, kOperation, fmt::format("capacity {}", problem.capacity),
                overflow ? "more than 2^63, what the lightest items weigh" : fmt::format("at least {}", least));
  }
  reduced.capacity = problem.capacity - least;
  int64_t divisor = 0;
  std::map<std::vector<int64_t>, int32_t> shapes;
  for (const auto& items : problem.classes) {
    const int64_t base = lightest(items);
    std::vector<Item> shifted = items;
    std::vector<int64_t> weights;
    for (Item& item : shifted) {
      item.weight -= base;
      weights.push_back(item.weight);
    }
    std::sort(weights.begin(), weights.end());
    weights.erase(std::unique(weights.begin(), weights.end()), weights.end());
    reduced.shape.push_back(shapes.try_emplace(weights, static_cast<int32_t>(shapes.size())).first->second);
    auto candidates = undominated(shifted);
    std::erase_if(candidates, [&](const Candidate& c) { return c.weight > reduced.capacity; });
    for (const Candidate& c : candidates) divisor = std::gcd(divisor, c.weight);
    reduced.classes.push_back(std::move(candidates));
  }
  if (divisor > 1) {
    for (auto& candidates : reduced.classes) {
      for (Candidate& c : candidates) c.weight /= divisor;
    }
    reduced.capacity /= divisor;
  }
  return reduced;
}

double value_of(const Reduced& reduced, std::span<const int32_t> position) {
  double value = 0;
  for (size_t k = 0; k < position.size(); ++k) value += reduced.classes[k][position[k]].cost;
  return value;
}

/// The greedy walk: the break solution (the last of its prefixes that fits), the step that no longer fits, and a
/// feasible choice that goes on past it with whatever still fits.
struct Greedy {
  std::vector<int32_t> broken, filled;  // positions in the classes' candidates
  int64_t slack = 0;                    // capacity the break solution leaves
  double lambda = 0;                    // efficiency of the step that broke; 0 where all fit
};

Greedy walk(const Reduced& reduced) {
  Greedy greedy;
  greedy.broken.assign(reduced.classes.size(), 0);
  greedy.slack = reduced.capacity;
  bool fits = true;
  int64_t room = 0;
  for (const Increment& step : greedy_order(reduced.classes)) {
    if (fits && step.weight <= greedy.slack) {
      greedy.broken[step.group] = step.to;
      greedy.slack -= step.weight;
      continue;
    }
    if (fits) {
      fits = false;
      greedy.lambda = step.efficiency;
      greedy.filled = greedy.broken;
      room = greedy.slack;
    }
    if (greedy.filled[step.group] == step.from && step.weight <= room) {
      greedy.filled[step.group] = step.to;
      room -= step.weight;
    }
  }
  if (fits) greedy.filled = greedy.broken;
  return greedy;
}

Core make_core(const Reduced& reduced, const Greedy& greedy) {
  Core core;
  core.shape = reduced.shape;
  core.slack = greedy.slack;
  core.lambda = greedy.lambda;
  core.classes.resize(reduced.classes.size());
  for (size_t k = 0; k < reduced.classes.size(); ++k) {
    const Candidate& base = reduced.classes[k][greedy.broken[k]];
    for (const Candidate& c : reduced.classes[k]) {
      const double loss = (c.cost - base.cost) + greedy.lambda * static_cast<double>(c.weight - base.weight);
      core.classes[k].push_back({c.weight - base.weight, std::max(0.0, loss), c.index});
    }
  }
  return core;
}

Solution finish(const Problem& problem, std::vector<int32_t> choice) {
  Solution solution;
  solution.choice = std::move(choice);
  for (size_t k = 0; k < solution.choice.size(); ++k) {
    const Item& item = problem.classes[k][solution.choice[k]];
    solution.value += item.cost;
    solution.weight += item.weight;
  }
  return solution;
}

std::vector<int32_t> indices(const Reduced& reduced, std::span<const int32_t> position) {
  std::vector<int32_t> choice;
  for (size_t k = 0; k < position.size(); ++k) choice.push_back(reduced.classes[k][position[k]].index);
  return choice;
}

}  // namespace

double relative_tolerance(size_t classes) {
  return 1e-12 + 1e-15 * static_cast<double>(classes);
}

namespace {

Solution solve_checked(const Problem& problem, const Limits& limits) {
  const Reduced reduced = reduce(problem);
  const Greedy greedy = walk(reduced);
  const Core core = make_core(reduced, greedy);
  const double relaxed = value_of(reduced, greedy.broken) - greedy.lambda * static_cast<double>(greedy.slack);

  Solution best = finish(problem, indices(reduced, greedy.filled));
  const double tolerance = relative_tolerance(problem.classes.size());
  int64_t steps_left = limits.steps, states = 0;
  double proved = 0;  // no choice loses less than this against the relaxation
  // The optimum usually lies very near the relaxation, and the search's work grows with the loss it admits: so ask
  // first for a choice of very little loss, and for twice as much until there is one.
  double loss = best.value - relaxed;
  double limit = std::max({loss / 4096, tolerance * best.value, std::numeric_limits<double>::min()});
  while (loss - proved > tolerance * best.value) {
    limit = std::min(limit, loss);
    const auto take = [&](const Search& search) {
      if (!search.improved) return;
      Solution better = finish(problem, search.choice);
      if (better.value < best.value) best = std::move(better);
      loss = std::min(loss, search.loss);
    };
    const Search search = search_core(core, limit, loss, limits.memory_bytes, steps_left, states);
    take(search);
    if (!search.complete) {
      // No proof then; thinned lists still find a good choice in a few steps, which may even meet the bound.
      int64_t beam_steps = std::min(limits.steps, int64_t{1} << 26);
      take(search_core(core, loss, loss, limits.memory_bytes, beam_steps, states, 512));
      break;
    }
    proved = std::min(limit, loss);
    limit *= 2;
  }
  best.states = states;
  best.lower_bound = best.value;
  if (const double slop = tolerance * best.value; loss - proved > slop) {
    best.lower_bound = std::max(0.0, std::min(best.value, relaxed + proved - slop));
  }
  return best;
}

}  // namespace

Solution solve(const Problem& problem, const Limits& limits) {
  constexpr double kSmall = 0x1p-700;
  const double largest = check(problem);
  if (largest == 0 || largest > kSmall) return solve_checked(problem, limits);
  // A cost per unit of weight would be rounded to few digits or to 0; a power of two changes nothing else.
  const int shift = -std::ilogb(largest);
  Problem scaled = problem;
  for (auto& items : scaled.classes) {
    for (Item& item : items) item.cost = std::ldexp(item.cost, shift);
  }
  const Solution found = solve_checked(scaled, limits);
  Solution solution = finish(problem, found.choice);
  solution.lower_bound =
      found.optimal() ? solution.value : std::min(solution.value, std::ldexp(found.lower_bound, -shift));
  solution.states = found.states;
  return solution;
}

}  // namespace mxq::mckp
