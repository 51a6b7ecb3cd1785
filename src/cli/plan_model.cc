#include "cli/plan_model.h"

#include <spdlog/spdlog.h>

#include <optional>

#include "mxq/sensitivity.h"

namespace mxq::cli {

double measure_sensitivities(const std::string& model, const SampleTextOptions& text, const MethodOptions& method,
                             ErrorTable& table, const CommonOptions& common) {
  SensitivityOptions options;
  options.text = text.text();
  options.quantize = method.measure().quantize;
  options.cache = method.measure().cache;
  const auto report = measure_sensitivity(model, table, options, common.progress().get());
  spdlog::info(
      "{} matrices perturbed one by one at {} on {} tokens of the model's own ({} known from the cache): {:.1f} s",
      report.probes, options.probe.name(), options.text.sequences * options.text.tokens, report.from_cache,
      report.seconds);
  for (const auto& name : report.not_finite) {
    spdlog::warn("the model gives NaN with {} at {}; it counts as the most sensitive", name, options.probe.name());
  }
  return report.seconds;
}

Problem prepare_problem(const std::string& model, const std::optional<Budget>& budget, const PlanOptions& plan,
                        const MethodOptions& method, ErrorTable& table, const CommonOptions& common, double& seconds) {
  Problem problem{plan.allocate(), 0};
  AllocateOptions& options = problem.options;
  const auto reason = plan.objective.empty() ? why_not_runnable(model) : std::nullopt;
  if (plan.objective.empty()) options.objective = reason ? Objective::rel : Objective::kl;
  if (budget) {
    // Sensitivities are not known yet; bytes do not depend on the objective.
    AllocateOptions any = options;
    any.objective = Objective::f2;
    problem.budget_bytes = matrix_budget_of(*budget, table, any, model_bytes(model, method.skip));
    allocate(table, problem.budget_bytes, any);  // throws where the budget is out of reach
  }
  if (reason) spdlog::warn("objective rel instead of kl, for the model cannot be run: {}", *reason);
  if (options.objective == Objective::kl) {
    seconds += measure_sensitivities(model, plan.sample_text, method, table, common);
  }
  return problem;
}

}  // namespace mxq::cli
