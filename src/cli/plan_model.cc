#include "cli/plan_model.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "mxq/cost.h"
#include "mxq/error.h"

namespace mxq::cli {

namespace {

/// The method of a table that says which; what is asked for must be it.
void take_method(const TableMethod& made_with, const CLI::App& command, MethodOptions& method) {
  const auto take = [](std::string& option, bool given, const std::string& made, const char* flag) {
    if (given && option != made) {
      throw Error(ErrorCode::usage, "plan", fmt::format("{} {} for an error table of {}", flag, option, made),
                  "what the table was measured with");
    }
    option = made;
  };
  const MethodOptions usual;
  std::string axis = fmt::format("{}", method.axis);
  take(method.fit, !method.fit.empty(), made_with.fit, "--fit");
  take(method.normalize, !method.normalize.empty(), made_with.normalize, "--normalize");
  take(axis, command.count("--axis") > 0, made_with.axis, "--axis");
  // A fit by its published name has metadata of its own.
  take(method.metadata, command.count("--metadata") > 0 || method.metadata != usual.metadata, made_with.metadata,
       "--metadata");
  method.axis = made_with.axis == "0" ? 0 : 1;
}

/// Of a table that does not say: by the bytes of the first matrix whose shape is known.
bool has_column_scales(const ErrorTable& table, const MethodOptions& method) {
  for (const MatrixErrors& m : table.matrices) {
    if (m.rows == 0 || m.schemes.empty()) continue;
    const QuantizeOptions options{Fit::mse, method.axis, parse_metadata(method.metadata), Normalize::rotation};
    return m.schemes.front().bytes == storage_bytes(parse_scheme(m.schemes.front().scheme), options, m.rows, m.cols);
  }
  return false;
}

/// Seconds that sensitivities take at most, nothing known from before.
double expected_seconds(const ErrorTable& table, const SensitivityOptions& options) {
  const Calibration& calibration = options.calibration;
  const int64_t calibrated =
      calibration.text == Calibration::Text::none ? 0 : calibration.sequences * calibration.tokens;
  const int64_t sampled = calibration.text == Calibration::Text::self ? calibrated : 0;
  const int64_t probed = options.text.sequences * options.text.tokens;
  int64_t weights = 0;
  for (const MatrixErrors& matrix : table.matrices) weights += matrix.params;
  return seconds_to_sample(weights, probed + sampled) + seconds_to_fit(weights, calibrated) +
         seconds_of_sensitivities(weights, probed);
}

void complete(MethodChoice& choice, bool runnable) {
  MethodOptions& method = choice.method;
  if (method.fit.empty()) method.fit = fit_name(runnable && method.axis == 1 ? Fit::gptq : Fit::mse);
  const Fit fit = parse_fit(method.fit);
  if (method.normalize.empty()) {
    method.normalize = normalize_name(fit == Fit::gptq || fit == Fit::mse ? Normalize::rotation : Normalize::none);
  }
  if (method.schemes.empty()) {
    // Rotated weights are as normal as makes no difference.
    const bool normal = parse_normalize(method.normalize) == Normalize::rotation && method.axis == 1;
    method.schemes = normal && (fit == Fit::gptq || fit == Fit::mse) ? "wide,gaussian" : "wide";
  }
}

}  // namespace

void MethodChoice::warn() const {
  if (changed.empty()) return;
  spdlog::warn("{}, for the model cannot be run: {}", fmt::join(changed, " and "), not_runnable);
}

void MethodChoice::check() const {
  if (objective != Objective::kl || not_runnable.empty()) return;
  throw Error(ErrorCode::unsupported, "--objective kl", "a model that cannot be run: " + not_runnable, "rel, f2, f");
}

MethodChoice choose_method(const Model& model, const MethodOptions& method, const std::string& objective,
                           bool all_bytes) {
  MethodChoice choice;
  choice.method = method;
  choice.method.embeddings = method.embeddings.value_or(all_bytes && method.axis == 1);
  if (!objective.empty()) choice.objective = parse_objective(objective);
  bool runnable = choice.objective == Objective::kl;
  if (runnable) {
    const auto& reason = model.why_not_runnable();
    runnable = !reason;
    if (reason) {
      choice.not_runnable = *reason;
      if (objective.empty()) {
        choice.objective = Objective::rel;
        choice.changed.push_back("objective rel instead of kl");
      }
      if (method.fit.empty()) choice.changed.push_back("fit mse instead of gptq");
    }
  }
  complete(choice, runnable);
  return choice;
}

MethodChoice choose_method(const ErrorTable& table, const MethodOptions& method, const std::string& objective,
                           const CLI::App& command) {
  MethodChoice choice;
  choice.method = method;
  choice.objective = has_sensitivities(table) ? Objective::kl : Objective::rel;
  if (!objective.empty()) choice.objective = parse_objective(objective);
  if (table.method.known()) {
    take_method(table.method, command, choice.method);
  } else if (method.normalize.empty()) {
    choice.method.normalize = normalize_name(has_column_scales(table, method) ? Normalize::rotation : Normalize::none);
  }
  complete(choice, choice.objective == Objective::kl);
  return choice;
}

void refuse_unused_method(const CLI::App& command, const MethodOptions& method, const SampleTextOptions& sample_text,
                          bool sampled) {
  const Calibration calibration = method.calibrate(sample_text);
  const auto refuse = [&](std::initializer_list<const char*> flags, const std::string& because, const char* allowed) {
    for (const char* flag : flags) {
      if (command.count(flag) == 0) continue;
      throw Error(ErrorCode::usage, command.get_name(), fmt::format("{} has no effect with {}", flag, because), allowed);
    }
  };
  if (calibration.text == Calibration::Text::none) {
    refuse({"--calibration-tokens", "--damping", "--column-order", "--zero-point"},
           fmt::format("the fit {} and no calibration text", method.fit), "a fit that looks at a text: gptq, or --calibration");
  } else if (method.fit == fit_name(Fit::awq)) {
    refuse({"--damping", "--column-order", "--zero-point"}, "the fit awq", "the fit gptq");
  }
  if (calibration.text != Calibration::Text::self && !sampled) {
    refuse({"--sample-tokens", "--sample-seed"}, "a model that samples no text",
           "the objective kl, or --calibration self");
  }
}

void check_pins_of(const Model& model, const PlanOptions& plan, const MethodOptions& method) {
  if (plan.pins.empty()) return;
  const MeasureOptions measure = method.measure();
  std::vector<std::string> schemes;
  for (const Scheme& scheme : measure.schemes) schemes.push_back(scheme.name());
  check_pins(plan.allocate(), selected_matrices(model, measure.matrices), schemes);
}

void warn_of_pins(const ErrorTable& table, const AllocateOptions& options) {
  const auto below = pins_below_min_bits(table, options);
  if (below.empty()) return;
  spdlog::warn("{} matrices are pinned to schemes of fewer bits than --min-bits {}, e.g. '{}' to {}: pins win",
               below.size(), options.min_bits, below.front().first, below.front().second);
}

void warn_of_degenerate_text(const SampleHealth& sample) {
  if (!sample.note.empty()) spdlog::warn("{}", sample.note);
  if (sample.drawn_anew > 0) {
    spdlog::warn("{} of {} texts that the model sampled repeated themselves and were drawn anew; {} still do",
                 sample.drawn_anew, sample.sequences, sample.degenerate);
  }
}

SensitivityReport measure_sensitivities(const Model& model, const SampleTextOptions& text,
                                        const MethodOptions& method, ErrorTable& table, const CommonOptions& common) {
  SensitivityOptions options;
  options.text = text.text();
  options.quantize = method.measure().quantize;
  options.calibration = method.calibrate(text);
  options.cache = method.measure().cache;
  spdlog::info(
      "measuring what errors in each of {} matrices do to the outputs: about {:.0f} s where nothing is known yet",
      table.matrices.size(), expected_seconds(table, options));
  SensitivityReport report = measure_sensitivity(model, table, options, common.progress().get());
  spdlog::info(
      "what {1} in each of {0} matrices does to {2} tokens of the model's own ({3} known from the cache): {4:.1f} s",
      report.probes, options.probe.name(), options.text.sequences * options.text.tokens, report.from_cache,
      report.seconds);
  warn_of_degenerate_text(report.sample);
  for (const auto& name : report.not_finite) {
    spdlog::warn("the model gives NaN with {0} at {1}: {1} and what loses as much there are left out", name,
                 options.probe.name());
  }
  return report;
}

Problem prepare_problem(const Model& model, const std::optional<Budget>& budget, const PlanOptions& plan,
                        const MethodChoice& choice, ErrorTable& table, const CommonOptions& common, double& seconds) {
  Problem problem{plan.allocate(), 0};
  AllocateOptions& options = problem.options;
  options.objective = choice.objective;
  if (budget) {
    // Sensitivities are not known yet; bytes do not depend on the objective.
    AllocateOptions any = options;
    any.objective = Objective::f2;
    problem.budget_bytes = matrix_budget_of(*budget, table, any,
                                            model_bytes(model, choice.method.matrices(), parse_fit(choice.method.fit)));
    allocate(table, problem.budget_bytes, any);  // throws where the budget is out of reach
  }
  AllocateOptions pinned = options;
  pinned.objective = Objective::f2;
  warn_of_pins(table, pinned);
  if (options.objective != Objective::kl) {
    choice.warn();
  } else {
    seconds += measure_sensitivities(model, plan.sample_text, choice.method, table, common).seconds;
  }
  return problem;
}

}  // namespace mxq::cli
