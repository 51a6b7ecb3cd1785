#include "mxq/allocate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "mxq/error.h"

namespace mxq {
namespace {

using testing::HasSubstr;

MatrixErrors matrix(const std::string& name, int64_t params, double norm, std::vector<SchemeCost> schemes) {
  MatrixErrors m;
  m.name = name;
  m.params = params;
  m.norm = norm;
  m.schemes = std::move(schemes);
  return m;
}

/// Two matrices, worked out by hand.
ErrorTable two(double norm_a = 10, double norm_b = 100) {
  return {{matrix("a", 100, norm_a, {{"b4g64", 50, 2, 4, 64}, {"b8g64", 100, 1, 8, 64}}),
           matrix("b", 200, norm_b, {{"b4g64", 100, 6, 4, 64}, {"b8g64", 200, 3, 8, 64}})}};
}

template <typename Call>
Error error_of(Call call) {
  try {
    call();
  } catch (const Error& e) {
    return e;
  }
  return {ErrorCode::io, "nothing", "was thrown"};
}

TEST(Allocate, ValuesOfTheObjectives) {
  AllocateOptions options;
  options.objective = Objective::f;
  EXPECT_EQ(allocate(two(), 150, options).value, 2 + 6);
  EXPECT_EQ(allocate(two(), 250, options).value, 2 + 3);
  options.objective = Objective::f2;
  EXPECT_EQ(allocate(two(), 250, options).value, 4 + 9);
  options.objective = Objective::rel;
  // 100 * 4 / 10^2 + 200 * 36 / 100^2; b8g64 for a saves 3, for b 0.54.
  EXPECT_DOUBLE_EQ(allocate(two(), 150, options).value, 4 + 0.72);
  EXPECT_DOUBLE_EQ(allocate(two(), 250, options).value, 1 + 0.72);
  EXPECT_DOUBLE_EQ(allocate(two(), 300, options).value, 1 + 0.18);
  // Sensitivities 0.5 and 0.25: 0.5 * 4 + 0.25 * 36; b8g64 for a saves 1.5, for b 6.75 but takes as many bytes more.
  options.objective = Objective::kl;
  ErrorTable table = two();
  table.matrices[0].sensitivity = 0.5;
  table.matrices[1].sensitivity = 0.25;
  EXPECT_DOUBLE_EQ(allocate(table, 150, options).value, 2 + 9);
  EXPECT_DOUBLE_EQ(allocate(table, 300, options).value, 0.5 + 2.25);
  table.matrices[1].sensitivity = 0;  // whatever is done to b costs nothing
  EXPECT_DOUBLE_EQ(allocate(table, 250, options).value, 0.5);
  table.matrices[1].sensitivity = -1;
  EXPECT_THAT(error_of([&] { allocate(table, 250, options); }).what(), HasSubstr("matrix 'b' has no sensitivity"));
}

TEST(Allocate, WithoutNormsRelIsRelativeToB4g64) {
  // 100 * (F / 2)^2 + 200 * (F / 6)^2, also where only one norm is missing.
  for (const auto& table : {two(0, 0), two(0, 100), two(10, 0)}) {
    EXPECT_DOUBLE_EQ(allocate(table, 150).value, 100 + 200);
    EXPECT_DOUBLE_EQ(allocate(table, 250).value, 100 + 50);
  }
  ErrorTable table = two(0, 0);
  for (auto& m : table.matrices) m.schemes[0] = {"b4g32", m.schemes[0].bytes, m.schemes[0].fnorm, 4, 32};
  const Error e = error_of([&] { allocate(table, 300); });
  EXPECT_EQ(e.code(), ErrorCode::unsupported);
  EXPECT_THAT(e.what(), AllOf(HasSubstr("'a'"), HasSubstr("4 bits in groups of 64")));
  AllocateOptions options;
  options.objective = Objective::f2;
  EXPECT_EQ(allocate(table, 300, options).value, 1 + 9);
}

TEST(Allocate, AMatrixWithoutErrorsCostsNothing) {
  ErrorTable table = two();
  table.matrices.push_back(matrix("zero", 50, 0, {{"b4g64", 25, 0, 4, 64}, {"b8g64", 50, 0, 8, 64}}));
  const Plan plan = allocate(table, 175);
  EXPECT_DOUBLE_EQ(plan.value, 4 + 0.72);
  EXPECT_EQ(plan.matrices[2].scheme, "b4g64");
}

TEST(Allocate, ThePlanTellsWhatItHolds) {
  const Plan plan = allocate(two(), 260);
  EXPECT_EQ(plan.objective, Objective::rel);
  EXPECT_EQ(plan.solver, Solver::exact);
  EXPECT_EQ(plan.lower_bound, plan.value);
  EXPECT_EQ(plan.gap, 0);
  EXPECT_EQ(plan.bytes, 200);
  EXPECT_EQ(plan.budget_bytes, 260);
  EXPECT_DOUBLE_EQ(plan.bits_per_parameter, 200 * 8 / 300.0);
  ASSERT_EQ(plan.matrices.size(), 2u);
  EXPECT_EQ(plan.matrices[0].name, "a");
  EXPECT_EQ(plan.matrices[0].scheme, "b8g64");
  EXPECT_EQ(plan.matrices[0].bytes, 100);
  EXPECT_EQ(plan.matrices[0].fnorm, 1);
  EXPECT_EQ(plan.matrices[1].scheme, "b4g64");
  ASSERT_TRUE(plan.best_uniform);
  EXPECT_EQ(plan.best_uniform->scheme, "b4g64");
  EXPECT_DOUBLE_EQ(plan.best_uniform->objective, 4.72);
  EXPECT_EQ(plan.best_uniform->bytes, 150);
}

TEST(Allocate, BestUniformIsAbsentWhereNoneFits) {
  ErrorTable table = two();
  table.matrices[0].schemes.push_back({"b2g64", 25, 3});
  EXPECT_FALSE(allocate(table, 149).best_uniform);
  EXPECT_TRUE(allocate(table, 150).best_uniform);
  AllocateOptions options;
  options.pins = {{"", "b4g64"}};
  EXPECT_FALSE(allocate(table, 150, options).best_uniform);
  options.pins = {{"a", "b2g64"}};
  ASSERT_TRUE(allocate(table, 125, options).best_uniform);
  EXPECT_EQ(allocate(table, 125, options).best_uniform->bytes, 125);
  options = {};
  options.min_bits = 5;
  EXPECT_EQ(allocate(table, 300, options).best_uniform->scheme, "b8g64");
}

TEST(Allocate, UniformPlan) {
  const UniformPlan plan = uniform_plan(two(), "b8g64");
  EXPECT_EQ(plan.scheme, "b8g64");
  EXPECT_EQ(plan.bytes, 300);
  EXPECT_DOUBLE_EQ(plan.objective, 1.18);
  AllocateOptions options;
  options.pins = {{"a", "b4g64"}};
  options.min_bits = 8;
  EXPECT_EQ(uniform_plan(two(), "b4g64", options).bytes, 150);
  EXPECT_EQ(uniform_plan(two(), "b8g64", options).bytes, 250);
  const Error e = error_of([] { uniform_plan(two(), "b3g64"); });
  EXPECT_EQ(e.code(), ErrorCode::not_found);
  EXPECT_THAT(e.what(), AllOf(HasSubstr("'a'"), HasSubstr("b3g64")));
}

TEST(Allocate, AnUnreachableBudgetNamesTheSmallest) {
  for (const int64_t budget : {int64_t{149}, int64_t{0}, int64_t{-5}, std::numeric_limits<int64_t>::min()}) {
    const Error e = error_of([&] { allocate(two(), budget); });
    EXPECT_EQ(e.code(), ErrorCode::infeasible);
    EXPECT_THAT(e.what(), HasSubstr("150 bytes"));
  }
  EXPECT_EQ(allocate(two(), std::numeric_limits<int64_t>::max()).bytes, 300);
}

TEST(Allocate, ReachableBytesStopWhereMoreDoesNotHelp) {
  ErrorTable table = two();
  table.matrices[0].schemes.push_back({"b16g64", 400, 1});
  EXPECT_EQ(reachable_bytes(table).smallest, 150);
  EXPECT_EQ(reachable_bytes(table).largest, 300);
}

TEST(Allocate, SmallestPlanForAValue) {
  AllocateOptions options;
  options.objective = Objective::f2;
  // The plans: 150 bytes for 4 + 36, 200 for 1 + 36, 250 for 4 + 9, 300 for 1 + 9.
  for (const auto& [value, bytes] : std::vector<std::pair<double, int64_t>>{
           {100, 150}, {40, 150}, {39.9, 200}, {37, 200}, {36.9, 250}, {13, 250}, {12.9, 300}, {10, 300}}) {
    const Plan plan = smallest_plan(two(), value, options);
    EXPECT_EQ(plan.bytes, bytes) << value;
    EXPECT_LE(plan.value, value);
  }
  for (const double value : {9.9, 0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    const Error error = error_of([&] { smallest_plan(two(), value, options); });
    EXPECT_EQ(error.code(), ErrorCode::infeasible);
    EXPECT_THAT(error.what(), HasSubstr("expected at least 10"));
  }
}

TEST(Allocate, BudgetsAreCheckedByBytesAlone) {
  ErrorTable table = two();
  for (MatrixErrors& m : table.matrices) {
    m.norm = 0;
    for (SchemeCost& scheme : m.schemes) scheme.fnorm = 0;
  }
  AllocateOptions options;
  options.objective = Objective::f2;
  const int64_t smallest = reachable_bytes(two()).smallest;
  EXPECT_NO_THROW(check_budget(table, smallest, options));
  EXPECT_EQ(error_of([&] { check_budget(table, smallest - 1, options); }).code(), ErrorCode::infeasible);
  options.pins = {{"nowhere", "b3g64"}};
  EXPECT_THAT(error_of([&] { check_budget(table, smallest, options); }).what(), HasSubstr("no matrix"));
  options.pins = {{"(", "b3g64"}};
  EXPECT_THAT(error_of([&] { check_pins(options); }).what(), HasSubstr("pin '(=b3g64'"));
}

TEST(Allocate, BadTablesAreRefused) {
  EXPECT_EQ(error_of([] { allocate({}, 1); }).code(), ErrorCode::usage);
  EXPECT_EQ(error_of([] { allocate({{matrix("m", 1, 1, {})}}, 1); }).code(), ErrorCode::usage);
  ErrorTable table = two();
  table.matrices[1].schemes[0].fnorm = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(error_of([&] { allocate(table, 300); }).code(), ErrorCode::not_finite);
  table = two();
  table.matrices[1].schemes[0].bytes = -1;
  EXPECT_EQ(error_of([&] { allocate(table, 300); }).code(), ErrorCode::not_finite);
  table = two();
  table.matrices[1].schemes[0].fnorm = 1e200;
  EXPECT_THAT(error_of([&] { allocate(table, 300); }).what(), HasSubstr("'b'"));
  table = two();
  for (auto& m : table.matrices) {
    for (auto& s : m.schemes) s.bytes = std::numeric_limits<int64_t>::max();
  }
  EXPECT_EQ(error_of([&] { allocate(table, 300); }).code(), ErrorCode::unsupported);
}

TEST(Allocate, NamesOfObjectivesAndSolvers) {
  for (const Objective o : {Objective::rel, Objective::f2, Objective::f}) {
    EXPECT_EQ(parse_objective(objective_name(o)), o);
  }
  for (const Solver s : {Solver::exact, Solver::highs}) EXPECT_EQ(parse_solver(solver_name(s)), s);
  EXPECT_THAT(error_of([] { parse_objective("kl2"); }).what(), AllOf(HasSubstr("'kl2'"), HasSubstr("rel, f2, f")));
  EXPECT_THAT(error_of([] { parse_solver("cplex"); }).what(), AllOf(HasSubstr("'cplex'"), HasSubstr("exact, highs")));
  EXPECT_TRUE(solver_available(Solver::exact));
}

}  // namespace
}  // namespace mxq
