// Plans as JSON: `mxq plan -o plan.json`, mxq-plan.json in a checkpoint, `--json` output.
#pragma once

#include <string>

#include "mxq/allocate.h"
#include "mxq/calibration.h"
#include "mxq/output.h"
#include "mxq/scheme.h"

namespace mxq {

struct PlanFile {
  Plan plan;
  QuantizeOptions quantize;
  CalibrationText calibration;
  std::string format = "mxq";  // of the file that the plan is for
};

/// How write_plan() begins.
inline constexpr FileKind kPlanFile{"a plan", "{\n  \"objective\": {\n"};

/// The fields of docs/reference/plan.md.
std::string write_plan(const PlanFile& file);
/// `source` names the file in errors. Throws Error(invalid_file) naming the field that is missing or wrong.
PlanFile read_plan(const std::string& json, const std::string& source);

}  // namespace mxq
