// Rows of tensors whose elements do not lie one behind the other: transposed, sliced and permuted ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mxq/tensor.h"

namespace mxq {

/// Whether elements of that shape and those strides lie one behind the other. Strides of extents of 1 say nothing.
bool is_row_major(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides);

struct StridedRows {
  std::vector<int64_t> shape, strides;  // in elements, as many as each other; the strides not negative
  std::span<const std::byte> bytes;     // from the first element to behind the last
  int64_t unit = 1;                     // bytes of an element: 1, 2, 4 or 8
  std::vector<int64_t> order = {};      // row r is the order[r]-th by the strides; empty: r

  /// Rows [first, first + count), row-major. Parallel. Every index below the shape's must lie in `bytes`; order's too.
  void gather(int64_t first, int64_t count, std::byte* out) const;
};

}  // namespace mxq
