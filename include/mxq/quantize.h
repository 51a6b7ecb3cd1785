// The whole job: from a model and a request to a checkpoint.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "mxq/method.h"
#include "mxq/model.h"
#include "mxq/plan_file.h"
#include "mxq/plan_model.h"
#include "mxq/progress.h"
#include "mxq/quantize_model.h"
#include "mxq/trials.h"

namespace mxq {

struct QuantizeJob {
  MethodRequest request;
  /// What trials (of max_loss and verify) measure on; nullopt: text that the model samples.
  std::optional<std::string> trial_text;
  WriteOptions write;
  /// Told of what was measured, before anything is planned.
  std::function<void(const PlanningProblem& problem)> on_measured = {};
  /// Told of a plan for a budget or of one scheme before it is carried out.
  std::function<void(const PlanningProblem& problem, const PlanFile& plan)> on_plan = {};
};

struct Quantized {
  PlanFile plan;  // that was carried out
  PlanningProblem problem;
  std::optional<TrialReport> trials;
  WriteReport written;
};

/// Measures, plans, tries and writes. `method` is what resolve() made of the request, which has a budget, a largest
/// loss or one scheme. Throws what the parts throw; nothing is left then.
Quantized quantize(const Model& model, const std::filesystem::path& out, const Method& method, const QuantizeJob& job,
                   Progress* progress = nullptr);

}  // namespace mxq
