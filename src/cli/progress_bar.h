// A bar on standard error.
#pragma once

#include <memory>

#include "mxq/progress.h"

namespace mxq::cli {

/// Draws only when `wanted` and standard error is a terminal, and only for phases that last over half a second. From
/// then on it goes on by itself, also while the work has nothing to tell. Elsewhere the times of phases are logged, at
/// the level debug.
std::unique_ptr<Progress> make_progress_bar(bool wanted);

/// What the whole command will take: shown until a phase's own pace is known.
void expect_seconds(double seconds);

}  // namespace mxq::cli
