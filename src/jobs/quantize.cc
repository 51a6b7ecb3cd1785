#include "mxq/quantize.h"

#include <utility>
#include <vector>

#include "model/model_state.h"

namespace mxq {

namespace {

/// One scheme for all matrices that are not pinned.
PlanFile with_one_scheme(const PlanningProblem& problem, const std::string& scheme, const PlanFile& plan) {
  AllocateOptions options = problem.allocate;
  options.pins.emplace_back("", scheme);  // the first pin that finds a matrix wins
  PlanFile uniform = plan;
  uniform.plan = allocate(problem.table(), reachable_bytes(problem.table(), options).smallest, options);
  return uniform;
}

TrialOptions trial_options(const Model& model, const QuantizeJob& job, const Method& method) {
  TrialOptions trial;
  if (job.trial_text) trial.perplexity = trial_text_cut();
  trial.perplexity.run = model.state().run();
  // Text that no plan has been made on, and not what `mxq eval --self` scores on afterwards.
  constexpr uint64_t kTrialSeed = 0x747269616c;
  trial.self.sampling.seed = method.sample.sampling.seed + kTrialSeed;
  trial.text = job.trial_text;
  return trial;
}

}  // namespace

Quantized quantize(const Model& model, const std::filesystem::path& out, const Method& method, const QuantizeJob& job,
                   Progress* progress) {
  const MethodRequest& request = job.request;
  Quantized result;
  result.problem = pose(model, request, method, job.write.cache, progress);
  const PlanningProblem& problem = result.problem;
  if (job.on_measured) job.on_measured(problem);
  const PlanFile plan = problem.plan(method);
  const auto keep = [&](TrialReport report) {
    result.plan = report.trials[report.kept].plan;
    result.written = report.written;
    result.trials = std::move(report);
  };
  if (request.max_loss) {
    keep(quantize_within_loss(model, out, problem.table(), problem.allocate, plan, *request.max_loss,
                              trial_options(model, job, method), job.write, progress));
    return result;
  }
  if (job.on_plan) job.on_plan(problem, plan);
  if (request.verify) {
    std::vector<PlanFile> plans{plan};
    if (plan.plan.best_uniform) plans.push_back(with_one_scheme(problem, plan.plan.best_uniform->scheme, plan));
    keep(quantize_best(model, out, plans, trial_options(model, job, method), job.write, progress));
    return result;
  }
  result.plan = plan;
  result.written = quantize_model(model, out, plan, job.write, progress);
  return result;
}

}  // namespace mxq
