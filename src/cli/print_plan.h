// A plan for people.
#pragma once

#include "mxq/allocate.h"
#include "mxq/error_table.h"

namespace mxq::cli {

/// Schemes with how many matrices and weights took them, the objective, the proof, the best uniform plan.
void print_plan(const Plan& plan, const ErrorTable& table);

}  // namespace mxq::cli
