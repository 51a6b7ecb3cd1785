#include "allocate/objective.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/named.h"
#include "mxq/error.h"

namespace mxq {

namespace {

/// Of the scheme whose error stands in for a norm.
constexpr int kReferenceBits = 4, kReferenceGroup = 64;

constexpr Named<Objective> kObjectives[] = {
    {"kl", Objective::kl}, {"rel", Objective::rel}, {"f2", Objective::f2}, {"f", Objective::f}};

constexpr Named<Solver> kSolvers[] = {{"exact", Solver::exact}, {"highs", Solver::highs}};

double largest_error(const MatrixErrors& matrix) {
  double largest = 0;
  for (const SchemeCost& s : matrix.schemes) largest = std::max(largest, s.fnorm);
  return largest;
}

/// ||W||^2 or what stands in for it; 1 for a matrix without errors, whose costs are 0 whatever it is.
double reference(const MatrixErrors& matrix, bool norms) {
  if (largest_error(matrix) == 0) return 1;
  if (norms) return matrix.norm * matrix.norm;
  for (const SchemeCost& s : matrix.schemes) {
    if (s.bits == kReferenceBits && s.group == kReferenceGroup && s.fnorm > 0) return s.fnorm * s.fnorm;
  }
  throw Error(ErrorCode::unsupported, "objective rel",
              fmt::format("matrix '{}' has neither a norm nor an error above 0 at {} bits in groups of {}", matrix.name,
                          kReferenceBits, kReferenceGroup),
              "a table with either, or the objectives f2 and f");
}

/// Of F^2, in objectives that sum it up.
double factor(const MatrixErrors& matrix, Objective objective, bool norms) {
  if (objective == Objective::rel) return static_cast<double>(matrix.params) / reference(matrix, norms);
  if (objective != Objective::kl) return 1;
  if (matrix.sensitivity < 0 && largest_error(matrix) > 0) {
    throw Error(ErrorCode::unsupported, "objective kl", fmt::format("matrix '{}' has no sensitivity", matrix.name),
                "a table with sensitivities, or the objectives rel, f2 and f");
  }
  return std::max(0.0, matrix.sensitivity);
}

void check(const MatrixErrors& matrix) {
  const auto bad = [&](const char* what, auto value) {
    throw Error(ErrorCode::not_finite, "allocate", fmt::format("matrix '{}' has {} {}", matrix.name, what, value),
                "finite numbers of at least 0");
  };
  if (!std::isfinite(matrix.norm) || matrix.norm < 0) bad("norm", matrix.norm);
  if (matrix.params < 0) bad("params", matrix.params);
  if (!std::isfinite(matrix.sensitivity)) bad("sensitivity", matrix.sensitivity);
  for (const SchemeCost& s : matrix.schemes) {
    if (!std::isfinite(s.fnorm) || s.fnorm < 0) bad("fnorm", s.fnorm);
    if (s.bytes < 0) bad("bytes", s.bytes);
  }
}

}  // namespace

bool has_sensitivities(const ErrorTable& table) {
  return std::all_of(table.matrices.begin(), table.matrices.end(),
                     [](const MatrixErrors& m) { return m.sensitivity >= 0; });
}

std::string_view objective_name(Objective objective) {
  return name_of(kObjectives, objective);
}
Objective parse_objective(std::string_view name) {
  return parse_named(kObjectives, "objective", name);
}
std::string_view solver_name(Solver solver) {
  return name_of(kSolvers, solver);
}
Solver parse_solver(std::string_view name) {
  return parse_named(kSolvers, "solver", name);
}

std::vector<std::vector<double>> objective_costs(const ErrorTable& table, Objective objective) {
  for (const MatrixErrors& m : table.matrices) check(m);
  const bool norms = std::all_of(table.matrices.begin(), table.matrices.end(),
                                 [](const MatrixErrors& m) { return m.norm > 0 || largest_error(m) == 0; });
  std::vector<std::vector<double>> costs;
  for (const MatrixErrors& m : table.matrices) {
    const double scale = factor(m, objective, norms);
    auto& of_matrix = costs.emplace_back();
    for (const SchemeCost& s : m.schemes) {
      const double cost = objective == Objective::f ? s.fnorm : s.fnorm * s.fnorm * scale;
      if (!std::isfinite(cost)) {
        throw Error(ErrorCode::not_finite, fmt::format("objective {}", objective_name(objective)),
                    fmt::format("matrix '{}' at {} with fnorm {}", m.name, s.scheme, s.fnorm),
                    "errors whose cost a double holds");
      }
      of_matrix.push_back(cost);
    }
  }
  return costs;
}

}  // namespace mxq
