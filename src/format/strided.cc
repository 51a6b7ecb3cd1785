#include "format/strided.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"

namespace mxq {

namespace {

constexpr int64_t kRows = 32, kColumns = 512;  // of a tile: its cache lines are read once, whichever way the strides go

/// Where each element of a row lies, from the row's first.
std::vector<int64_t> column_offsets(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  std::vector<int64_t> offsets{0};
  for (size_t i = 1; i < shape.size(); ++i) {
    std::vector<int64_t> next;
    next.reserve(offsets.size() * static_cast<size_t>(shape[i]));
    for (const int64_t offset : offsets) {
      for (int64_t k = 0; k < shape[i]; ++k) next.push_back(offset + k * strides[i]);
    }
    offsets = std::move(next);
  }
  return offsets;
}

template <size_t kUnit>
void gather_row(const std::byte* row, const int64_t* offsets, int64_t count, std::byte* out) {
  for (int64_t k = 0; k < count; ++k, out += kUnit) {
    std::memcpy(out, row + offsets[k] * static_cast<int64_t>(kUnit), kUnit);
  }
}

}  // namespace

bool is_row_major(const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1 && strides[i] != stride) return false;
    stride *= shape[i];
  }
  return true;
}

void StridedRows::gather(int64_t first, int64_t count, std::byte* out) const {
  const auto offsets = column_offsets(shape, strides);
  const auto columns = static_cast<int64_t>(offsets.size());
  const int64_t row_stride = shape.empty() ? 0 : strides.front(), row_tiles = (count + kRows - 1) / kRows;
  parallel_for(row_tiles, [&](int64_t tile) {
    const int64_t begin = tile * kRows, end = std::min(begin + kRows, count);
    for (int64_t column = 0; column < columns; column += kColumns) {
      const int64_t width = std::min(kColumns, columns - column);
      for (int64_t r = begin; r < end; ++r) {
        const int64_t row = order.empty() ? first + r : order[static_cast<size_t>(first + r)];
        const std::byte* from = bytes.data() + row * row_stride * unit;
        std::byte* to = out + (r * columns + column) * unit;
        switch (unit) {
          case 1:
            gather_row<1>(from, offsets.data() + column, width, to);
            break;
          case 2:
            gather_row<2>(from, offsets.data() + column, width, to);
            break;
          case 4:
            gather_row<4>(from, offsets.data() + column, width, to);
            break;
          default:
            gather_row<8>(from, offsets.data() + column, width, to);
        }
      }
    }
  });
}

}  // namespace mxq
