// Dequantizing of the affine family.
#include <algorithm>
#include <vector>

#include "base/bitpack.h"
#include "base/half.h"
#include "base/parallel.h"
#include "kernels/dequantize.h"
#include "schemes/affine/affine.h"
#include "schemes/part_bytes.h"

namespace mxq::affine {

namespace {

struct Input {
  explicit Input(const QuantizedView& matrix)
      : layout(matrix.layout),
        codes(matrix.part("codes")),
        scales(matrix.part("scales")),
        zeros(matrix.part("zeros")),
        biases(matrix.part("biases")),
        scale_steps(matrix.part("scale_steps")),
        zero_steps(matrix.part("zero_steps")) {}

  const QuantizedLayout& layout;
  std::span<const std::byte> codes, scales, zeros, biases, scale_steps, zero_steps;
};

struct GroupValues {
  float scale, zero;  // or bias
};

GroupValues group_values(const Input& matrix, int64_t group) {
  switch (matrix.layout.metadata) {
    case Metadata::q8: {
      const float middle = 0.5f * static_cast<float>((1 << matrix.layout.scheme.bits) - 1);
      const float scale_step = f32_from_f16(get_value<uint16_t>(matrix.scale_steps, group / kGroupsPerStep));
      const float zero_step = f32_from_f16(get_value<uint16_t>(matrix.zero_steps, group / kGroupsPerStep));
      return {static_cast<float>(get_value<uint8_t>(matrix.scales, group)) * scale_step,
              middle - zero_step * static_cast<float>(get_value<int8_t>(matrix.zeros, group))};
    }
    case Metadata::f16:
      return {f32_from_f16(get_value<uint16_t>(matrix.scales, group)),
              f32_from_f16(get_value<uint16_t>(matrix.zeros, group))};
    case Metadata::f16_bias:
      return {f32_from_f16(get_value<uint16_t>(matrix.scales, group)),
              f32_from_f16(get_value<uint16_t>(matrix.biases, group))};
    case Metadata::bf16_bias:
      return {f32_from_bf16(get_value<uint16_t>(matrix.scales, group)),
              f32_from_bf16(get_value<uint16_t>(matrix.biases, group))};
    case Metadata::f32:
      return {get_value<float>(matrix.scales, group), get_value<float>(matrix.zeros, group)};
  }
  return {};
}

}  // namespace

void AffineFamily::dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const {
  const QuantizedLayout& layout = matrix.layout;
  const Input parts(matrix);
  const int bits = layout.scheme.bits;
  const int64_t group = layout.scheme.group, groups = layout.groups();

  // The groups that the rows lie in: their own on axis 1, all on axis 0.
  const int64_t per_row = groups / layout.rows;
  const int64_t first_group = layout.axis == 1 ? first_row * per_row : 0;
  const int64_t used = layout.axis == 1 ? rows * per_row : groups;
  std::vector<float> scales(static_cast<size_t>(used)), zeros(static_cast<size_t>(used));
  constexpr int64_t kChunk = 1 << 14;
  parallel_for((used + kChunk - 1) / kChunk, [&](int64_t chunk) {
    for (int64_t j = chunk * kChunk; j < std::min(used, (chunk + 1) * kChunk); ++j) {
      const GroupValues values = group_values(parts, first_group + j);
      scales[j] = values.scale;
      zeros[j] = values.zero;
    }
  });
  if (layout.axis == 1) {
    const int64_t row_bytes = layout.code_row_bytes();
    const auto loop = has_bias(layout.metadata) ? dequantize_biased : dequantize_groups;
    parallel_for(rows, [&](int64_t r) {
      float* row = out + r * layout.cols;
      loop(reinterpret_cast<const uint8_t*>(parts.codes.data()) + (first_row + r) * row_bytes, row_bytes, bits,
           static_cast<int>(group), layout.cols, scales.data() + r * per_row, zeros.data() + r * per_row, row);
    });
    return;
  }
  parallel_for(rows, [&](int64_t r) {
    std::vector<uint8_t> codes(static_cast<size_t>(layout.cols));
    const int64_t first = (first_row + r) * layout.cols;
    unpack_codes(parts.codes, bits, first, layout.cols, codes.data());
    float* row = out + r * layout.cols;
    // Runs of neighbouring groups.
    for (int64_t k = 0; k < layout.cols;) {
      const int64_t j = (first + k) % groups, run = std::min(layout.cols - k, groups - j);
      dequantize_elements(codes.data() + k, run, scales.data() + j, zeros.data() + j, row + k);
      k += run;
    }
  });
}

}  // namespace mxq::affine
