#include "mxq/plan_model.h"

#include <string>
#include <vector>

#include "mxq/budget.h"
#include "mxq/error.h"

namespace mxq {

PlanFile PlanningProblem::plan(const Method& method) const {
  PlanFile file;
  file.quantize = method.quantize;
  file.calibration = method.calibration;
  if (matrix_bytes) file.plan = mxq::allocate(table(), *matrix_bytes, allocate);
  return file;
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

PlanningProblem pose(const Model& model, const MethodRequest& request, const Method& method,
                     const std::filesystem::path& cache, Progress* progress) {
  PlanningProblem problem;
  problem.allocate = request.constraints();
  // Sensitivities are not known yet; bytes do not depend on the objective.
  problem.allocate.objective = Objective::f2;
  MeasureOptions options;
  options.schemes = method.schemes;
  options.quantize = method.quantize;
  options.matrices = method.matrices;
  options.cache = cache;
  if (!request.pins.empty()) {
    std::vector<std::string> schemes;
    for (const Scheme& scheme : method.schemes) schemes.push_back(scheme.name());
    check_pins(problem.allocate, selected_matrices(model, method.matrices), schemes);
  }
  problem.measured = measure_model(model, options, progress);
  problem.seconds = problem.measured.seconds;
  if (request.has_budget()) {
    problem.matrix_bytes = matrix_budget(request.budget(), problem.table(), problem.allocate,
                                         model_bytes(model, method.matrices, method.quantize.fit));
    allocate(problem.table(), *problem.matrix_bytes, problem.allocate);  // throws where the budget is out of reach
  } else if (request.uniform) {
    problem.matrix_bytes = reachable_bytes(problem.table(), problem.allocate).smallest;
  }
  problem.allocate.objective = method.objective;
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
