// HiGHS as a solver of the multiple-choice knapsack problem.
#pragma once

#include <limits>

#include "allocate/mckp.h"

namespace mxq {

bool highs_available();

/// As mckp::solve, by HiGHS's branch and cut with both MIP gaps at 0, on one thread. The bound is HiGHS's own, taken
/// as proof where it is within 1e-9 of the value. Throws Error(unsupported) where the library was built without it or
/// it fails; where `seconds` do not suffice the best choice so far is returned with its bound.
mckp::Solution solve_with_highs(const mckp::Problem& problem, double seconds = std::numeric_limits<double>::infinity());

}  // namespace mxq
