// How a matrix falls into groups, blocks and tiles.
#pragma once

#include <hwy/aligned_allocator.h>
#include <array>
#include <cstdint>

#include "kernels/affine_tile.h"
#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq::groups {

/// The groups of one matrix. Group numbers are those of the stored metadata: axis 1 row after row, axis 0 by column
/// of the [group, groups] matrix.
struct Grouping {
  int64_t rows = 0, cols = 0;
  int group = 0;
  int axis = 1;

  Grouping(int64_t rows, int64_t cols, int group, int axis);
  int64_t groups() const { return groups_; }
  int64_t blocks() const { return (groups_ + kGroupsPerStep - 1) / kGroupsPerStep; }
  /// Weights in a group: `group`, fewer in the last of a row (axis 1) or where the matrix ends (axis 0).
  int length(int64_t group_index) const;
  /// Index, in the row-major matrix, of the group's first weight, and the distance to the next.
  int64_t first(int64_t group_index) const;
  int64_t stride() const { return axis == 1 ? 1 : groups_; }

 private:
  int64_t groups_ = 0, per_row_ = 0;
};

/// Up to kTileLanes groups of equal length of one block.
struct Tile {
  int n = 0;                                // weights a group
  int lanes = 0;                            // groups
  int offset = 0;                           // of its floats in the block's data
  std::array<int16_t, kTileLanes> group{};  // number within the block of each lane's group
};

/// A block's groups have at most two lengths, each with its own tiles.
inline constexpr int kMaxTiles = kGroupsPerStep / kTileLanes + 1;
inline constexpr int kMaxSlots = kMaxTiles * kTileLanes;

/// kGroupsPerStep consecutive groups (those that share the steps of Metadata::q8), as tiles.
/// Per-group arrays of a block have kMaxSlots entries: the group in lane l of tile t is entry t * kTileLanes + l.
struct Block {
  int64_t index = 0;
  int64_t first_group = 0;
  int groups = 0;
  int tile_count = 0;
  std::array<Tile, kMaxTiles> tiles;
  float* data = nullptr;

  const float* tile_data(int t) const { return data + tiles[t].offset; }
};

/// Floats that a block's data can take.
int64_t block_floats(const Grouping& grouping);

/// Plans block `index` (all but data) and returns the floats that its tiles take.
int64_t plan_block(const Grouping& grouping, int64_t index, Block& block);

/// Fills block.data, which has room for the planned floats and is 64-byte aligned, from the matrix.
void load_block(MatrixView matrix, const Grouping& grouping, Block& block);

/// 64-byte aligned floats.
using AlignedFloats = hwy::AlignedFreeUniquePtr<float[]>;
inline AlignedFloats allocate_floats(int64_t n) {
  return hwy::AllocateAligned<float>(static_cast<size_t>(n));
}

}  // namespace mxq::groups
