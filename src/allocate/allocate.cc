#include "mxq/allocate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "allocate/constraints.h"
#include "allocate/highs.h"
#include "allocate/mckp.h"
#include "allocate/objective.h"
#include "base/stopwatch.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

double bits_of(int64_t bytes, const ErrorTable& table) {
  double params = 0;
  for (const MatrixErrors& m : table.matrices) params += static_cast<double>(m.params);
  return params > 0 ? static_cast<double>(bytes) * 8 / params : 0;
}

int64_t smallest_bytes(const std::vector<MatrixGroup>& groups) {
  int64_t bytes = 0;
  for (const MatrixGroup& group : groups) {
    bytes = add_bytes(bytes, std::min_element(group.options.begin(), group.options.end(), [](auto& a, auto& b) {
                               return a.bytes < b.bytes;
                             })->bytes);
  }
  return bytes;
}

const GroupOption* find_option(const MatrixGroup& group, const std::string& scheme) {
  for (const GroupOption& option : group.options) {
    if (option.scheme == scheme) return &option;
  }
  return nullptr;
}

void check_budget(const ErrorTable& table, const std::vector<MatrixGroup>& groups, int64_t budget_bytes) {
  const int64_t smallest = smallest_bytes(groups);
  if (budget_bytes >= smallest) return;
  throw Error(ErrorCode::infeasible, "allocate",
              fmt::format("a budget of {} ({} bytes, {:.4f} bits per parameter)", format_size(budget_bytes),
                          budget_bytes, bits_of(budget_bytes, table)),
              fmt::format("at least {} ({} bytes, {:.4f} bits per parameter)", format_size(smallest), smallest,
                          bits_of(smallest, table)));
}

std::optional<UniformPlan> find_best_uniform(const std::vector<MatrixGroup>& groups, int64_t budget_bytes) {
  const auto free = std::find_if(groups.begin(), groups.end(), [](const MatrixGroup& g) { return !g.pinned; });
  if (free == groups.end()) return std::nullopt;
  std::optional<UniformPlan> best;
  for (const GroupOption& candidate : free->options) {
    UniformPlan plan{candidate.scheme, 0, 0};
    bool everywhere = true;
    for (const MatrixGroup& group : groups) {
      const GroupOption* option = group.pinned ? &group.options.front() : find_option(group, candidate.scheme);
      if (!option) {
        everywhere = false;
        break;
      }
      plan.objective += option->cost;
      plan.bytes = add_bytes(plan.bytes, option->bytes);
    }
    if (!everywhere || plan.bytes > budget_bytes) continue;
    if (!best || plan.objective < best->objective || (plan.objective == best->objective && plan.bytes < best->bytes)) {
      best = plan;
    }
  }
  return best;
}

}  // namespace

bool solver_available(Solver solver) {
  return solver == Solver::exact || highs_available();
}

void check_budget(const ErrorTable& table, int64_t budget_bytes, const AllocateOptions& options) {
  check_budget(table, apply_constraints(table, options), budget_bytes);
}

Plan allocate(const ErrorTable& table, int64_t budget_bytes, const AllocateOptions& options) {
  const Stopwatch watch;
  const auto groups = apply_constraints(table, options);
  check_budget(table, groups, budget_bytes);
  const mckp::Problem problem = make_problem(groups, budget_bytes);
  const mckp::Solution solution = options.solver == Solver::highs ? solve_with_highs(problem) : mckp::solve(problem);

  Plan plan;
  plan.objective = options.objective;
  plan.solver = options.solver;
  plan.budget_bytes = budget_bytes;
  plan.matrices.resize(table.matrices.size());
  const auto costs = objective_costs(table, options.objective);
  std::vector<double> chosen_costs(table.matrices.size());
  for (size_t g = 0; g < groups.size(); ++g) {
    const GroupOption& option = groups[g].options[solution.choice[g]];
    for (size_t m = 0; m < groups[g].members.size(); ++m) {
      const size_t i = groups[g].members[m];
      const SchemeCost& scheme = table.matrices[i].schemes[option.places[m]];
      plan.matrices[i] = {table.matrices[i].name, scheme.scheme, scheme.bytes, scheme.fnorm};
      chosen_costs[i] = costs[i][option.places[m]];
    }
    plan.bytes = add_bytes(plan.bytes, option.bytes);
  }
  for (const double cost : chosen_costs) plan.value += cost;
  // Ties change only the order of the additions.
  plan.lower_bound = solution.optimal() ? plan.value : std::min(plan.value, solution.lower_bound);
  plan.gap = plan.value > 0 ? (plan.value - plan.lower_bound) / plan.value : 0;
  plan.bits_per_parameter = bits_of(plan.bytes, table);
  plan.best_uniform = find_best_uniform(groups, budget_bytes);
  plan.seconds = watch.seconds();
  return plan;
}

Plan smallest_plan(const ErrorTable& table, double value, const AllocateOptions& options) {
  const ByteRange range = reachable_bytes(table, options);
  Plan best = allocate(table, range.largest, options);
  if (!(best.value <= value)) {
    throw Error(ErrorCode::infeasible, "allocate",
                fmt::format("objective {} of at most {}", objective_name(options.objective), value),
                fmt::format("at least {}", best.value));
  }
  // The best value falls with the budget; each plan that is good enough bounds the next from above by its own bytes.
  int64_t low = range.smallest;
  while (low < best.bytes) {
    const int64_t middle = low + (best.bytes - low) / 2;
    Plan plan = allocate(table, middle, options);
    if (plan.value <= value) {
      best = std::move(plan);
    } else {
      low = middle + 1;
    }
  }
  return best;
}

ByteRange reachable_bytes(const ErrorTable& table, const AllocateOptions& options) {
  const auto groups = apply_constraints(table, options);
  ByteRange range{smallest_bytes(groups), 0};
  for (const MatrixGroup& group : groups) {
    const auto best = std::min_element(group.options.begin(), group.options.end(), [](auto& a, auto& b) {
      return a.cost != b.cost ? a.cost < b.cost : a.bytes < b.bytes;
    });
    range.largest = add_bytes(range.largest, best->bytes);
  }
  return range;
}

UniformPlan uniform_plan(const ErrorTable& table, const std::string& scheme, const AllocateOptions& options) {
  AllocateOptions all = options;
  all.min_bits = 0;
  UniformPlan plan{scheme, 0, 0};
  for (const MatrixGroup& group : apply_constraints(table, all)) {
    const GroupOption* option = group.pinned ? &group.options.front() : find_option(group, scheme);
    if (!option) {
      throw Error(ErrorCode::not_found, "uniform plan",
                  fmt::format("matrix '{}' has no scheme '{}'", table.matrices[group.members.front()].name, scheme));
    }
    plan.objective += option->cost;
    plan.bytes = add_bytes(plan.bytes, option->bytes);
  }
  return plan;
}

}  // namespace mxq
