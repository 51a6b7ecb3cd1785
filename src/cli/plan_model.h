// From a measured model and a budget to the options of allocate(), as `plan` and `quantize` do it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "mxq/sensitivity.h"

namespace mxq::cli {

/// What options leave open, decided by what the model allows.
struct MethodChoice {
  MethodOptions method;  // nothing empty
  Objective objective = Objective::kl;
  /// What is so because the model cannot be run, and why it cannot.
  std::vector<std::string> changed;
  std::string not_runnable;

  /// Says so.
  void warn() const;
  /// Throws Error(unsupported) where the objective kl was asked for, of a model that cannot be run.
  void check() const;
};

/// Where the model can be run: objective kl, fit gptq. Elsewhere, or where another objective is asked for: fit mse, and
/// objective rel. Column scales with gptq and mse. Embedding and output matrix are planned where the budget counts
/// `all_bytes`: but for axis 0, where a row takes reading all groups.
MethodChoice choose_method(const Model& model, const MethodOptions& method, const std::string& objective,
                           bool all_bytes = false);
/// For an error table instead of a model: kl where it has sensitivities, and what it was measured with; of a table that
/// does not say, gptq where it has sensitivities, and column scales where its bytes have them. Throws Error(usage) for
/// another fit, normalization, axis or metadata than its own, where `command` was given one.
MethodChoice choose_method(const ErrorTable& table, const MethodOptions& method, const std::string& objective,
                           const CLI::App& command);

/// Throws Error(usage) for an option of `command` that has no effect with the method that came of all of them: those of
/// calibration texts where there is none, those of texts that the model samples where it samples none. `sampled`: it
/// samples a text whatever the calibration, for sensitivities or trials.
void refuse_unused_method(const CLI::App& command, const MethodOptions& method, const SampleTextOptions& sample_text,
                          bool sampled);

/// Throws Error(usage) for pins that the model's matrices cannot take, before those are measured.
void check_pins_of(const Model& model, const PlanOptions& plan, const MethodOptions& method);

/// Says so where pins are of fewer bits than --min-bits.
void warn_of_pins(const ErrorTable& table, const AllocateOptions& options);

/// Says so where sampled texts repeated themselves.
void warn_of_degenerate_text(const SampleHealth& sample);

/// Sets the table's sensitivities, and says what it takes before it begins.
SensitivityReport measure_sensitivities(const Model& model, const SampleTextOptions& text,
                                        const MethodOptions& method, ErrorTable& table, const CommonOptions& common);

struct Problem {
  AllocateOptions options;
  int64_t budget_bytes = 0;
};

/// Measures sensitivities, adding to `seconds`, where the objective needs them; a budget that cannot be reached fails
/// before that.
Problem prepare_problem(const Model& model, const std::optional<Budget>& budget, const PlanOptions& plan,
                        const MethodChoice& choice, ErrorTable& table, const CommonOptions& common, double& seconds);

}  // namespace mxq::cli
