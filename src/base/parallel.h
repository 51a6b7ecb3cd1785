// Parallel loops on the process's one thread pool.
#pragma once

#include <cstdint>
#include <functional>

#include "mxq/runtime.h"

namespace mxq {

/// Calls body(i) for i in [0, n), in any order, on up to threads() threads; from inside of a body, on this one. Results
/// must not depend on the order: write to slot i, and reduce in order of i afterwards. If bodies throw, the exception
/// of the smallest i among those that ran is rethrown here, after all running bodies have ended.
void parallel_for(int64_t n, const std::function<void(int64_t)>& body);

}  // namespace mxq
