#include "schemes/groups/blocks.h"

#include <algorithm>

namespace mxq::groups {

Grouping::Grouping(int64_t rows_, int64_t cols_, int group_, int axis_)
    : rows(rows_), cols(cols_), group(group_), axis(axis_) {
  groups_ = group_count(Scheme{.bits = 8, .group = group}, axis, rows, cols);
  per_row_ = cols / group + (cols % group != 0);
}

int Grouping::length(int64_t index) const {
  if (axis == 1) return static_cast<int>(std::min<int64_t>(group, cols - index % per_row_ * group));
  return static_cast<int>((rows * cols - 1 - index) / groups_) + 1;
}

int64_t Grouping::first(int64_t index) const {
  return axis == 1 ? index / per_row_ * cols + index % per_row_ * group : index;
}

int64_t block_floats(const Grouping& grouping) {
  return int64_t{kMaxSlots} * grouping.group;
}

int64_t plan_block(const Grouping& grouping, int64_t index, Block& block) {
  block.index = index;
  block.first_group = index * kGroupsPerStep;
  block.groups = static_cast<int>(std::min(kGroupsPerStep, grouping.groups() - block.first_group));
  block.tile_count = 0;
  int64_t floats = 0;
  // The open tile of each of the two lengths; the longer is that of the block's first group or of a later one.
  int open[2] = {-1, -1};
  int lengths[2] = {grouping.length(block.first_group), 0};
  for (int g = 0; g < block.groups; ++g) {
    const int length = grouping.length(block.first_group + g);
    const int kind = length == lengths[0] ? 0 : 1;
    lengths[kind] = length;
    if (open[kind] < 0) {
      open[kind] = block.tile_count++;
      Tile& tile = block.tiles[open[kind]];
      tile.n = length;
      tile.lanes = 0;
      tile.offset = static_cast<int>(floats);
      floats += int64_t{length} * kTileLanes;
    }
    Tile& tile = block.tiles[open[kind]];
    tile.group[tile.lanes++] = static_cast<int16_t>(g);
    if (tile.lanes == kTileLanes) open[kind] = -1;
  }
  return floats;
}

void load_block(MatrixView matrix, const Grouping& grouping, Block& block) {
  for (int t = 0; t < block.tile_count; ++t) {
    const Tile& tile = block.tiles[t];
    float* data = block.data + tile.offset;
    if (grouping.axis == 0) {
      // The groups of one length are neighbours.
      tile_load_columns(matrix.data + block.first_group + tile.group[0], grouping.stride(), tile.lanes, tile.n, data);
      continue;
    }
    const float* groups[kTileLanes];
    for (int l = 0; l < kTileLanes; ++l) {
      const int g = tile.group[std::min(l, tile.lanes - 1)];
      groups[l] = matrix.data + grouping.first(block.first_group + g);
    }
    tile_load_groups(groups, tile.n, data);
  }
}

}  // namespace mxq::groups
