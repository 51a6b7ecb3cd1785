// From a measured model and a budget to the options of allocate(), as `plan` and `quantize` do it.
#pragma once

#include <optional>
#include <string>

#include "cli/options.h"

namespace mxq::cli {

/// Sets the table's sensitivities. Returns the seconds that took.
double measure_sensitivities(const std::string& model, const SampleTextOptions& text, const MethodOptions& method,
                             ErrorTable& table, const CommonOptions& common);

struct Problem {
  AllocateOptions options;
  int64_t budget_bytes = 0;
};

/// Chooses the objective where none was asked for, and measures sensitivities, adding to `seconds`, where it needs
/// them; a budget that cannot be reached fails before that.
Problem prepare_problem(const std::string& model, const std::optional<Budget>& budget, const PlanOptions& plan,
                        const MethodOptions& method, ErrorTable& table, const CommonOptions& common, double& seconds);

}  // namespace mxq::cli
