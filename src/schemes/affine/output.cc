#include "schemes/affine/output.h"

#include <bit>

#include "base/half.h"
#include "schemes/part_bytes.h"

namespace mxq::affine {

static_assert(std::endian::native == std::endian::little, "metadata is written as it lies in memory");

void write_steps(int64_t block_index, const StoredBlock& stored, Output& out) {
  if (out.metadata != Metadata::q8) return;
  put_value(out.scale_steps, block_index, stored.scale_step);
  put_value(out.zero_steps, block_index, stored.zero_step);
}

void write_group(int64_t group, const StoredBlock& stored, int slot, Output& out) {
  switch (out.metadata) {
    case Metadata::q8:
      put_value(out.scales, group, stored.scale_codes[slot]);
      put_value(out.zeros, group, stored.zero_codes[slot]);
      break;
    case Metadata::f16:
      put_value(out.scales, group, f16_from_f32(stored.scale[slot]));
      put_value(out.zeros, group, f16_from_f32(stored.zero[slot]));
      break;
    case Metadata::f16_bias:
      put_value(out.scales, group, f16_from_f32(stored.scale[slot]));
      put_value(out.biases, group, f16_from_f32(stored.bias[slot]));
      break;
    case Metadata::bf16_bias:
      put_value(out.scales, group, bf16_from_f32(stored.scale[slot]));
      put_value(out.biases, group, bf16_from_f32(stored.bias[slot]));
      break;
    case Metadata::f32:
      put_value(out.scales, group, stored.scale[slot]);
      put_value(out.zeros, group, stored.zero[slot]);
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
