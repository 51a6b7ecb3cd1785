#include "mxq/plan_model.h"

#include <set>
#include <string>

#include "mxq/budget.h"
#include "mxq/error.h"

namespace mxq {

namespace {

MeasureOptions measuring(const Method& method, const std::filesystem::path& cache) {
  return {method.schemes, method.quantize, method.matrices, method.format, cache};
}

}  // namespace

PlanFile PlanningProblem::plan(const Method& method) const {
  PlanFile file;
  file.quantize = method.quantize;
  file.calibration = method.calibration;
  file.format = method.format;
  if (matrix_bytes) file.plan = mxq::allocate(table(), *matrix_bytes, allocate);
  return file;
}

Method method_of(const PlanFile& plan) {
  Method method;
  method.objective = plan.plan.objective;
  method.quantize = plan.quantize;
  method.calibration = plan.calibration;
  method.format = plan.format;
  std::set<std::string> schemes;
  for (const PlannedMatrix& matrix : plan.plan.matrices) schemes.insert(matrix.scheme);
  for (const auto& scheme : schemes) method.schemes.push_back(parse_scheme(scheme));
  return method;
}

SensitivityReport measure_sensitivity(const Model& model, const Method& method, ErrorTable& table,
                                      const std::filesystem::path& cache, Progress* progress) {
  SensitivityOptions options;
  options.text = method.sample;
  options.quantize = method.quantize;
  options.calibration = method.calibration;
  options.cache = cache;
  return measure_sensitivity(model, table, options, progress);
}

std::optional<int64_t> bytes_for_matrices(const Model& model, const MethodRequest& request, const Method& method) {
  const ErrorTable table = size_table(model, measuring(method, {}));
  AllocateOptions options = request.constraints();
  options.objective = Objective::f2;  // which needs nothing but errors; bytes do not depend on it
  if (request.has_budget()) {
    const int64_t bytes = matrix_budget(request.budget(), table, options,
                                        model_bytes(model, method.matrices, method.quantize.fit, method.format));
    check_budget(table, bytes, options);
    return bytes;
  }
  const int64_t smallest = reachable_bytes(table, options).smallest;
  return request.uniform ? std::optional(smallest) : std::nullopt;
}

PlanningProblem pose(const Model& model, const MethodRequest& request, const Method& method,
                     const std::filesystem::path& cache, Progress* progress) {
  PlanningProblem problem;
  problem.allocate = request.constraints();
  problem.allocate.objective = method.objective;
  problem.matrix_bytes = bytes_for_matrices(model, request, method);
  problem.measured = measure_model(model, measuring(method, cache), progress);
  problem.seconds = problem.measured.seconds;
  if (method.objective == Objective::kl) {
    problem.sensitivities = measure_sensitivity(model, method, problem.measured.table, cache, progress);
    problem.seconds += problem.sensitivities->seconds;
  }
  return problem;
}

PlanningProblem pose(const ErrorTable& table, const MethodRequest& request, const Method& method) {
  PlanningProblem problem;
  problem.measured.table = table;
  problem.allocate = request.constraints();
  problem.allocate.objective = method.objective;
  if (request.counts_all_bytes()) {
    throw Error(ErrorCode::usage, request.size ? "size" : "vram", "a budget for an error table",
                "bits, which needs no model");
  }
  if (request.has_budget()) problem.matrix_bytes = matrix_budget(request.budget(), table, problem.allocate, {});
  return problem;
}

}  // namespace mxq
