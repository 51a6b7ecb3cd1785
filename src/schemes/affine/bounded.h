// Fitted scales and centres within what stored metadata can say.
#pragma once

#include "schemes/affine/fit.h"

namespace mxq::affine {

/// Rounds of a fit under limits.
inline constexpr int kBoundedRounds = 5;

inline float inverse_or_zero(float scale) {
  return scale >= kSmallestScale ? 1.0f / scale : 0.0f;
}

/// Scale and centre of every group under limits.
struct BoundedBlock {
  alignas(64) float scale[kMaxSlots];
  alignas(64) float center[kMaxSlots];
};

/// Groups within `range` as they were fitted; others at its limits, which Fit::mse fits again there.
void bound(const Block& block, int max_code, Fit fit, const FittedBlock& fitted, const MetadataRange& range,
           BoundedBlock& bounded);

}  // namespace mxq::affine
