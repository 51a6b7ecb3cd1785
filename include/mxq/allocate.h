// Error table + budget -> plan: one scheme for every matrix, with proof that no better choice exists.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mxq/error_table.h"
#include "mxq/progress.h"

namespace mxq {

/// What a plan minimises, a sum over the matrices.
enum class Objective {
  kl,   // sensitivity * F^2: the predicted KL divergence of the outputs, in nats a token
  rel,  // params * F^2 / ||W||^2 (||W||^2 replaced by F^2 at b4g64 where the table has no norms)
  f2,   // F^2
  f,    // F, the paper's
};
std::string_view objective_name(Objective objective);
Objective parse_objective(std::string_view name);

enum class Solver { exact, highs };
std::string_view solver_name(Solver solver);
Solver parse_solver(std::string_view name);
/// False where the library was built without HiGHS; Solver::highs then throws Error(unsupported).
bool solver_available(Solver solver);

/// Matrices that take one scheme: those of a block, by the last parts of their names ("q_proj"), or those whose names
/// differ in nothing but a number.
struct Tie {
  std::string name;  // "qkv"
  std::vector<std::string> modules;
  std::string numbered = {};  // what the number stands behind: "experts"; empty: by `modules`
};

struct AllocateOptions {
  Objective objective = Objective::rel;
  Solver solver = Solver::exact;
  /// Matrices whose name matches the regular expression (ECMAScript, searched) must take the scheme.
  /// The first match wins. Throws Error(usage) for a bad expression, for one that matches nothing, and for one that
  /// matches only what earlier ones have pinned.
  std::vector<std::pair<std::string, std::string>> pins;
  /// Schemes of fewer bits per parameter are not considered (0: all are). Pins override it.
  int min_bits = 0;
  /// A matrix may belong to several: then all of theirs take one scheme.
  std::vector<Tie> ties;
};

struct PlannedMatrix {
  std::string name;
  std::string scheme;
  int64_t bytes = 0;
  double fnorm = 0;
};

struct UniformPlan {
  std::string scheme;
  double objective = 0;
  int64_t bytes = 0;
};

struct Plan {
  Objective objective = Objective::rel;
  Solver solver = Solver::exact;
  double value = 0;        // of the objective
  double lower_bound = 0;  // proved; equal to value when the solver finished
  double gap = 0;          // (value - lower_bound) / value; 0 is proved optimal
  int64_t bytes = 0;
  int64_t budget_bytes = 0;
  double bits_per_parameter = 0;
  double seconds = 0;
  std::vector<PlannedMatrix> matrices;  // in the table's order
  /// The best plan of one scheme for all (unpinned) matrices within the same budget; absent where none fits.
  std::optional<UniformPlan> best_uniform;
};

/// Throws Error(usage) for pins that are no regular expressions.
void check_pins(const AllocateOptions& options);

/// Throws what allocate() throws for constraints and a budget. With the objective f2 a table without norms and
/// sensitivities will do, such as size_table() gives before anything is measured.
void check_budget(const ErrorTable& table, int64_t budget_bytes, const AllocateOptions& options);

/// Throws Error(infeasible) naming the smallest reachable budget when even the smallest plan is larger.
Plan allocate(const ErrorTable& table, int64_t budget_bytes, const AllocateOptions& options = {});

/// The plan of fewest bytes among the best plans of all budgets whose objective is at most `value`; the smallest of all
/// where that is good enough. Throws Error(infeasible) naming the least reachable objective where `value` is below it.
Plan smallest_plan(const ErrorTable& table, double value, const AllocateOptions& options = {});

/// Smallest and largest bytes that any plan under these options takes (largest: where more bytes stop helping).
struct ByteRange {
  int64_t smallest = 0;
  int64_t largest = 0;
};
ByteRange reachable_bytes(const ErrorTable& table, const AllocateOptions& options = {});

/// Bytes that one scheme for all takes (pins respected). Throws Error(not_found) where a matrix lacks the scheme.
UniformPlan uniform_plan(const ErrorTable& table, const std::string& scheme, const AllocateOptions& options = {});

/// Name and scheme of each matrix that a pin gives fewer bits than min_bits.
std::vector<std::pair<std::string, std::string>> pins_below_min_bits(const ErrorTable& table,
                                                                     const AllocateOptions& options);

struct FrontierPoint {
  int64_t bytes = 0;
  double bits_per_parameter = 0;
  double value = 0;
  bool convex = false;  // a vertex of the Lagrangian frontier; otherwise an exact plan on the budget grid
};

/// Every plan of the convex (Lagrangian) frontier and exact plans on a grid of `grid` budgets between the smallest
/// and the largest, in order of bytes. Progress: phase "solve" in budgets.
std::vector<FrontierPoint> frontier(const ErrorTable& table, int grid = 200, const AllocateOptions& options = {},
                                    Progress* progress = nullptr);

}  // namespace mxq
