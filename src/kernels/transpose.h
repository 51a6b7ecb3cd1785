// Matrices turned over.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/parallel.h"

namespace mxq {

/// to[width, n] = from[n, width]^T, in parallel.
template <typename T>
void transpose(const T* from, int64_t n, int64_t width, T* to) {
  constexpr int64_t kTile = 32;
  parallel_for((width + kTile - 1) / kTile, [&](int64_t task) {
    const int64_t begin = task * kTile, end = std::min(width, begin + kTile);
    for (int64_t first = 0; first < n; first += kTile) {
      const int64_t stop = std::min(n, first + kTile);
      for (int64_t c = begin; c < end; ++c) {
        for (int64_t r = first; r < stop; ++r) to[c * n + r] = from[r * width + c];
      }
    }
  });
}

}  // namespace mxq
