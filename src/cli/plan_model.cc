#include "cli/plan_model.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "mxq/budget.h"

namespace mxq::cli {

void say_method(const Model& model, const MethodRequest& request, const Method& method) {
  if (!method.note.empty()) spdlog::warn("{}", method.note);
  if (request.context) {
    const int64_t longest = model_bytes(model).max_context;
    if (longest > 0 && *request.context > longest) {
      spdlog::warn("--context {} is beyond the {} tokens that the model was made for", *request.context, longest);
    }
  }
}

void say_sensitivities(const Method& method, const SensitivityReport& report) {
  const std::string probe = SensitivityOptions().probe.name();
  spdlog::info(
      "what {1} in each of {0} matrices does to {2} tokens of the model's own ({3} known from the cache): {4:.1f} s",
      report.probes, probe, method.sample.sequences * method.sample.tokens, report.from_cache, report.seconds);
  warn_of_degenerate_text(report.sample);
  for (const auto& name : report.not_finite) {
    spdlog::warn("the model gives NaN with {0} at {1}: {1} and what loses as much there are left out", name, probe);
  }
}

void warn_of_pins(const ErrorTable& table, const AllocateOptions& options) {
  const auto below = pins_below_min_bits(table, options);
  if (below.empty()) return;
  spdlog::warn("{} matrices are pinned to schemes of fewer bits than --min-bits {}, e.g. '{}' to {}: pins win",
               below.size(), options.min_bits, below.front().first, below.front().second);
}

void say_problem(const Method& method, const PlanningProblem& problem) {
  warn_of_pins(problem.table(), problem.allocate);
  if (problem.sensitivities) say_sensitivities(method, *problem.sensitivities);
}

void warn_of_degenerate_text(const SampleHealth& sample) {
  if (!sample.note.empty()) spdlog::warn("{}", sample.note);
  if (sample.drawn_anew > 0) {
    spdlog::warn("{} of {} texts that the model sampled repeated themselves and were drawn anew; {} still do",
                 sample.drawn_anew, sample.sequences, sample.degenerate);
  }
}

}  // namespace mxq::cli
