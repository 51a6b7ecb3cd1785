// What commands that plan say of the method, of the work ahead and of what came of it.
#pragma once

#include "mxq/method.h"
#include "mxq/plan_model.h"

namespace mxq::cli {

/// Says how long sensitivities take at most, and warns of what is so because the model cannot be run and of a context
/// beyond what the model was made for.
void say_method(const Model& model, const MethodRequest& request, const Method& method);

/// What measuring sensitivities gave.
void say_sensitivities(const Method& method, const SensitivityReport& report);

/// Says so where pins are of fewer bits than --min-bits.
void warn_of_pins(const ErrorTable& table, const AllocateOptions& options);

/// All that is worth saying of a problem.
void say_problem(const Method& method, const PlanningProblem& problem);

/// Says so where sampled texts repeated themselves.
void warn_of_degenerate_text(const SampleHealth& sample);

}  // namespace mxq::cli
