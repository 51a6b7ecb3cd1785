// From a model and a request to what allocate() is given.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "mxq/allocate.h"
#include "mxq/error_table.h"
#include "mxq/measure.h"
#include "mxq/method.h"
#include "mxq/model.h"
#include "mxq/plan_file.h"
#include "mxq/progress.h"
#include "mxq/sensitivity.h"

namespace mxq {

struct PlanningProblem {
  Measurement measured;
  std::optional<SensitivityReport> sensitivities;  // where the objective needs them
  AllocateOptions allocate;
  /// What the request's budget leaves for the matrices; nullopt where it has none.
  std::optional<int64_t> matrix_bytes;
  double seconds = 0;  // of all of it

  const ErrorTable& table() const { return measured.table; }
  /// How the matrices are quantized, and the best plan where there is a budget.
  PlanFile plan(const Method& method) const;
};

/// What a plan file says of the method that made it; its schemes are those that the plan uses.
Method method_of(const PlanFile& plan);

/// Bytes that the request's budget leaves for the matrices; nullopt where it has none. Reads headers only. Throws
/// Error(infeasible) naming the smallest budget that can be reached, and Error(usage) for constraints that no plan
/// meets, with or without a budget.
std::optional<int64_t> bytes_for_matrices(const Model& model, const MethodRequest& request, const Method& method);

/// Measures the model, and its sensitivities where the objective needs them; what bytes_for_matrices() throws comes
/// before. `method` is what resolve() made of the request. `cache`: as in MeasureOptions.
PlanningProblem pose(const Model& model, const MethodRequest& request, const Method& method,
                     const std::filesystem::path& cache, Progress* progress = nullptr);

/// Of an error table, whose rows have been chosen (select_rows()). Throws Error(usage) for a budget that counts bytes
/// outside the table.
PlanningProblem pose(const ErrorTable& table, const MethodRequest& request, const Method& method);

/// Measured errors and sensitivities: MatrixErrors::sensitivity of the table is set.
SensitivityReport measure_sensitivity(const Model& model, const Method& method, ErrorTable& table,
                                      const std::filesystem::path& cache, Progress* progress = nullptr);

}  // namespace mxq
