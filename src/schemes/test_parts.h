// What tests of schemes look at in a quantized matrix.
#pragma once

#include <cstdint>

#include "mxq/quantized_matrix.h"

namespace mxq {

/// Of all parts as they are, whatever the layout says.
inline int64_t all_bytes(const QuantizedMatrix& matrix) {
  int64_t bytes = 0;
  for (const auto& part : matrix.parts) bytes += static_cast<int64_t>(part.size());
  return bytes;
}

}  // namespace mxq
