// What of a model is not planned, as every command says it.
#pragma once

#include <nlohmann/json.hpp>

#include "mxq/coverage.h"

namespace mxq::cli {

/// The field "coverage" of --json: docs/reference/plan.md.
nlohmann::ordered_json coverage_json(const Coverage& coverage);

/// A warning where weights that nobody asked to leave are more than one in a hundred. `bits`: the budget is --bits,
/// which counts the planned matrices alone.
void warn_of_coverage(const Coverage& coverage, bool bits = false);

/// A line of the result; nothing where all is planned.
void print_coverage(const Coverage& coverage);

}  // namespace mxq::cli
