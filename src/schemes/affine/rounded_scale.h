// Scales of 16-bit metadata with a bias that follows from them.
#pragma once

#include <algorithm>

#include "base/half.h"
#include "mxq/scheme.h"

namespace mxq::affine {

/// The nearest scale that the metadata holds with which a bias of `most` codes is a number too.
inline float rounded_scale(float scale, float most, Metadata metadata) {
  const float limit = (metadata == Metadata::bf16_bias ? 0x1.fep127f : 65504.0f) / most;
  scale = std::clamp(scale, -limit, limit);
  return metadata == Metadata::bf16_bias ? f32_from_bf16(bf16_from_f32(scale)) : f32_from_f16(f16_from_f32(scale));
}

}  // namespace mxq::affine
