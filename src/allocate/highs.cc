#include "allocate/highs.h"

#include <fmt/format.h>
#include <interfaces/highs_c_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "mxq/error.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "solver highs";
// HiGHS works to absolute tolerances of 1e-6 and less, so its proof is no finer than this part of the value.
constexpr double kProofTolerance = 1e-9;

void expect(HighsInt status, const char* call) {
  if (status == kHighsStatusError) throw Error(ErrorCode::unsupported, kOperation, fmt::format("{} failed", call));
}

/// The binary program: x[k][i] in {0, 1}, one a class, weights within the capacity. Weights are taken relative to the
/// lightest of the class and divided by their common divisor, costs scaled to a largest of 2^16..2^17, so that the
/// numbers stay within what HiGHS's tolerances are made for. The same choices stay feasible and optimal.
struct Program {
  std::vector<double> cost, row_lower, row_upper, value;
  std::vector<HighsInt> start, row;
  double scale = 1;
};

Program make_program(const mckp::Problem& problem) {
  Program program;
  std::vector<int64_t> base;
  int64_t room = problem.capacity, divisor = 0;
  double largest = 0;
  for (const auto& items : problem.classes) {
    base.push_back(
        std::min_element(items.begin(), items.end(), [](auto& a, auto& b) { return a.weight < b.weight; })->weight);
    if (__builtin_sub_overflow(room, base.back(), &room) || room < 0) {
      throw Error(ErrorCode::infeasible, kOperation, fmt::format("capacity {}", problem.capacity));
    }
    for (const auto& item : items) {
      divisor = std::gcd(divisor, item.weight - base.back());
      largest = std::max(largest, item.cost);
    }
  }
  if (divisor == 0) divisor = 1;
  if (largest > 0) program.scale = std::exp2(16 - std::ilogb(largest));
  const auto classes = static_cast<HighsInt>(problem.classes.size());
  for (HighsInt k = 0; k < classes; ++k) {
    for (const auto& item : problem.classes[k]) {
      program.cost.push_back(item.cost * program.scale);
      program.start.push_back(static_cast<HighsInt>(program.row.size()));
      program.row.push_back(k);
      program.value.push_back(1);
      program.row.push_back(classes);
      program.value.push_back(static_cast<double>((item.weight - base[k]) / divisor));
    }
  }
  program.row_lower.assign(classes, 1);
  program.row_upper.assign(classes, 1);
  program.row_lower.push_back(0);
  program.row_upper.push_back(static_cast<double>(room / divisor));
  return program;
}

}  // namespace

bool highs_available() {
  return true;
}

mckp::Solution solve_with_highs(const mckp::Problem& problem, double seconds) {
  const Program program = make_program(problem);
  const std::unique_ptr<void, decltype(&Highs_destroy)> highs(Highs_create(), Highs_destroy);
  if (!highs) throw Error(ErrorCode::unsupported, kOperation, "Highs_create failed");
  expect(Highs_setBoolOptionValue(highs.get(), "output_flag", 0), "output_flag");
  expect(Highs_setDoubleOptionValue(highs.get(), "mip_rel_gap", 0), "mip_rel_gap");
  expect(Highs_setDoubleOptionValue(highs.get(), "mip_abs_gap", 0), "mip_abs_gap");
  expect(Highs_setDoubleOptionValue(highs.get(), "time_limit", seconds), "time_limit");
  expect(Highs_setStringOptionValue(highs.get(), "parallel", "off"), "parallel");
  expect(Highs_setIntOptionValue(highs.get(), "random_seed", 0), "random_seed");
  const auto columns = static_cast<HighsInt>(program.cost.size());
  const auto rows = static_cast<HighsInt>(program.row_lower.size());
  const std::vector<double> lower(columns, 0), upper(columns, 1);
  const std::vector<HighsInt> integrality(columns, kHighsVarTypeInteger);
  expect(Highs_passMip(highs.get(), columns, rows, static_cast<HighsInt>(program.row.size()), kHighsMatrixFormatColwise,
                       kHighsObjSenseMinimize, 0, program.cost.data(), lower.data(), upper.data(),
                       program.row_lower.data(), program.row_upper.data(), program.start.data(), program.row.data(),
                       program.value.data(), integrality.data()),
         "Highs_passMip");
  expect(Highs_run(highs.get()), "Highs_run");
  const HighsInt status = Highs_getModelStatus(highs.get());
  if (status != kHighsModelStatusOptimal && status != kHighsModelStatusTimeLimit) {
    throw Error(ErrorCode::unsupported, kOperation, fmt::format("ended with model status {}", status));
  }
  std::vector<double> x(columns), column_dual(columns), row_value(rows), row_dual(rows);
  expect(Highs_getSolution(highs.get(), x.data(), column_dual.data(), row_value.data(), row_dual.data()),
         "Highs_getSolution");
  double bound = 0;
  expect(Highs_getDoubleInfoValue(highs.get(), "mip_dual_bound", &bound), "mip_dual_bound");

  mckp::Solution solution;
  size_t column = 0;
  for (const auto& items : problem.classes) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(column);
    const auto end = begin + static_cast<std::ptrdiff_t>(items.size());
    const auto chosen = std::max_element(begin, end);
    if (!(*chosen > 0.5)) throw Error(ErrorCode::unsupported, kOperation, "no plan found in the time given");
    solution.choice.push_back(static_cast<int32_t>(chosen - begin));
    solution.value += items[solution.choice.back()].cost;
    solution.weight += items[solution.choice.back()].weight;
    column += items.size();
  }
  if (solution.weight > problem.capacity) {
    throw Error(ErrorCode::unsupported, kOperation, "its plan exceeds the budget through rounding", "solver exact");
  }
  bound = std::isfinite(bound) ? std::max(0.0, bound / program.scale) : 0;
  const bool proved = std::abs(solution.value - bound) <= kProofTolerance * solution.value;
  solution.lower_bound = proved ? solution.value : std::min(bound, solution.value);
  return solution;
}

}  // namespace mxq
