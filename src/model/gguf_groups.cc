#include "model/gguf_groups.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/bitpack.h"
#include "base/half.h"
#include "base/parallel.h"
#include "format/ggml_blocks.h"

namespace mxq {

namespace {

/// Bits of the narrowest affine scheme with a code for each number from `low` to `high`.
int bits_of_codes(int low, int high) {
  constexpr std::array bits{2, 3, 4, 5, 6, 8};
  return *std::find_if(bits.begin(), bits.end(), [&](int b) { return high - low < 1 << b; });
}

/// Writes one number a group, as the metadata have it.
class MetadataWriter {
 public:
  MetadataWriter(std::span<std::byte> part, Metadata metadata) : part_(part), metadata_(metadata) {}
  void put(int64_t group, float value) const {
    if (metadata_ == Metadata::f16) {
      const uint16_t half = f16_from_f32(value);
      std::memcpy(part_.data() + 2 * group, &half, 2);
    } else {
      std::memcpy(part_.data() + 4 * group, &value, 4);
    }
  }

 private:
  std::span<std::byte> part_;
  Metadata metadata_;
};

}  // namespace

std::optional<QuantizedLayout> exact_ggml_layout(DType dtype, int64_t rows, int64_t cols) {
  if (!is_ggml_block(dtype)) return std::nullopt;
  const GgmlCodes facts = ggml_codes(dtype);
  if (facts.has_offsets) return std::nullopt;
  const Metadata metadata = facts.scales_are_f16 ? Metadata::f16 : Metadata::f32;
  return QuantizedLayout{rows, cols, {bits_of_codes(facts.low, facts.high), facts.group}, 1, metadata, false};
}

QuantizedMatrix exact_ggml_groups(DType dtype, const QuantizedLayout& layout, std::span<const std::byte> blocks) {
  const GgmlCodes facts = ggml_codes(dtype);
  const int64_t block = dtype_block_elements(dtype), block_bytes = dtype_block_bytes(dtype);
  const int64_t per_row = layout.cols / block, groups = block / facts.group;
  QuantizedMatrix out(layout);
  const auto codes = out.part("codes");
  const MetadataWriter scales(out.part("scales"), layout.metadata), zeros(out.part("zeros"), layout.metadata);
  parallel_for(layout.rows, [&](int64_t row) {
    std::vector<uint8_t> row_codes(static_cast<size_t>(layout.cols));
    for (int64_t b = 0; b < per_row; ++b) {
      int8_t of_block[kGgmlBlock];
      float block_scales[kGgmlGroups];
      const int64_t at = row * per_row + b;
      unpack_ggml_block(dtype, blocks.data() + at * block_bytes, of_block, block_scales);
      for (int64_t i = 0; i < block; ++i) {
        row_codes[static_cast<size_t>(b * block + i)] = static_cast<uint8_t>(of_block[i] - facts.low);
      }
      for (int64_t g = 0; g < groups; ++g) {
        scales.put(at * groups + g, block_scales[g]);
        zeros.put(at * groups + g, static_cast<float>(-facts.low));
      }
    }
    pack_codes(row_codes.data(), layout.cols, layout.scheme.bits, codes.data() + row * layout.code_row_bytes());
  });
  return out;
}

}  // namespace mxq
