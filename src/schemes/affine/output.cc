#include "schemes/affine/output.h"

#include <bit>
#include <cstring>

#include "base/half.h"

namespace mxq::affine {

static_assert(std::endian::native == std::endian::little, "metadata is written as it lies in memory");

namespace {

template <typename Value>
void put(std::span<std::byte> bytes, int64_t index, Value value) {
  std::memcpy(bytes.data() + index * static_cast<int64_t>(sizeof value), &value, sizeof value);
}

}  // namespace

void write_steps(int64_t block_index, const StoredBlock& stored, Output& out) {
  if (out.metadata != Metadata::q8) return;
  put(out.scale_steps, block_index, stored.scale_step);
  put(out.zero_steps, block_index, stored.zero_step);
}

void write_group(int64_t group, const StoredBlock& stored, int slot, Output& out) {
  switch (out.metadata) {
    case Metadata::q8:
      put(out.scales, group, stored.scale_codes[slot]);
      put(out.zeros, group, stored.zero_codes[slot]);
      break;
    case Metadata::f16:
      put(out.scales, group, f16_from_f32(stored.scale[slot]));
      put(out.zeros, group, f16_from_f32(stored.zero[slot]));
      break;
    case Metadata::f32:
      put(out.scales, group, stored.scale[slot]);
      put(out.zeros, group, stored.zero[slot]);
      break;
  }
}

void write_metadata(const Block& block, const StoredBlock& stored, Output& out) {
  write_steps(block.index, stored, out);
  for (int t = 0; t < block.tile_count; ++t) {
    for (int l = 0; l < block.tiles[t].lanes; ++l) {
      write_group(block.first_group + block.tiles[t].group[l], stored, t * kTileLanes + l, out);
    }
  }
}

}  // namespace mxq::affine
