// A bar on standard error.
#pragma once

#include <memory>

#include "mxq/progress.h"

namespace mxq::cli {

/// Draws only when `wanted` and standard error is a terminal, and only for phases that last over a second.
std::unique_ptr<Progress> make_progress_bar(bool wanted);

}  // namespace mxq::cli
