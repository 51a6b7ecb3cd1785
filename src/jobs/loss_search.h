// The smallest plan whose loss, as trials find it, stays within a limit.
#pragma once

#include <cstddef>
#include <functional>

#include "mxq/allocate.h"
#include "mxq/error_table.h"

namespace mxq {

/// Tries plans of the table by the objective of `options`, which predicts their losses, first the one that should just
/// stay within `max_loss` (above 0), then some around it. `loss_of` carries a plan out; infinity where its model gives
/// no numbers. Returns which of its calls, counted from 0, was of the smallest plan within the limit. Throws
/// Error(infeasible) naming the least loss that was found where even the largest plan loses more.
size_t search_within_loss(const ErrorTable& table, const AllocateOptions& options, double max_loss,
                          const std::function<double(const Plan& plan)>& loss_of);

}  // namespace mxq
