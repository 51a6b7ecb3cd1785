// Values that lie row by row, column by column: how loaders of GPTQ and AWQ want them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "schemes/part_bytes.h"

namespace mxq {

/// [rows, n] of little-endian values as [n, rows].
template <typename Value>
std::vector<Value> turned(std::span<const std::byte> values, int64_t rows) {
  const int64_t n = std::ssize(values) / static_cast<int64_t>(sizeof(Value)) / rows;
  std::vector<Value> result(static_cast<size_t>(rows * n));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < n; ++i) result[static_cast<size_t>(i * rows + r)] = get_value<Value>(values, r * n + i);
  }
  return result;
}

}  // namespace mxq
