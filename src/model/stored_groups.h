// Groups of any size as the affine family holds them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace mxq {

/// Of rows of `cols` columns in groups of `group`, a multiple of 16 or all columns: the family has groups of powers of
/// two up to 256, so larger ones, and others, are several with one scale.
constexpr int stored_group(int64_t cols, int64_t group) {
  int stored = 256;
  while (stored > 16 && group < cols && group % stored != 0) stored /= 2;
  while (stored > 16 && stored / 2 >= group) stored /= 2;
  return stored;
}

/// Number, in its row, of the file's group that stored group number `part` of the row lies in.
constexpr int64_t file_group(int64_t part, int stored, int64_t cols, int64_t group) {
  return std::min(part * stored / group, (cols - 1) / group);
}

}  // namespace mxq
