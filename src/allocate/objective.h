// What a plan minimises, as a cost for every (matrix, scheme).
#pragma once

#include <vector>

#include "mxq/allocate.h"
#include "mxq/error_table.h"

namespace mxq {

/// costs[i][s] of matrix i under its scheme s, all finite and >= 0. `rel` takes params * F^2 / ||W||^2; where any
/// matrix with an error lacks its norm, all take params * F^2 / (F at b4g64)^2 so that they stay comparable.
/// Throws Error(not_finite) for an error or bytes outside their range or a cost that overflows, and
/// Error(unsupported) where `rel` has neither norm nor b4g64 to go by.
std::vector<std::vector<double>> objective_costs(const ErrorTable& table, Objective objective);

}  // namespace mxq
