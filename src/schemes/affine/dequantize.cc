#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/bitpack.h"
#include "base/half.h"
#include "base/parallel.h"
#include "kernels/dequantize.h"
#include "mxq/error.h"
#include "mxq/quantized_matrix.h"
#include "schemes/affine/blocks.h"
#include "schemes/affine/validate.h"

namespace mxq {

namespace {

template <typename Value>
Value get(std::span<const std::byte> bytes, int64_t index) {
  Value value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

void check_length(const char* part, std::span<const std::byte> bytes, int64_t expected) {
  if (static_cast<int64_t>(bytes.size()) == expected) return;
  throw Error(ErrorCode::invalid_file, "dequantize matrix", fmt::format("{} bytes of {}", bytes.size(), part),
              fmt::format("{} for this shape and scheme", expected));
}

struct GroupValues {
  float scale, zero;
};

GroupValues group_values(const QuantizedView& matrix, int64_t group) {
  switch (matrix.layout.metadata) {
    case Metadata::q8: {
      const float middle = 0.5f * static_cast<float>((1 << matrix.layout.scheme.bits) - 1);
      const float scale_step = f32_from_f16(get<uint16_t>(matrix.scale_steps, group / kGroupsPerStep));
      const float zero_step = f32_from_f16(get<uint16_t>(matrix.zero_steps, group / kGroupsPerStep));
      return {static_cast<float>(get<uint8_t>(matrix.scales, group)) * scale_step,
              middle - zero_step * static_cast<float>(get<int8_t>(matrix.zeros, group))};
    }
    case Metadata::f16:
      return {f32_from_f16(get<uint16_t>(matrix.scales, group)), f32_from_f16(get<uint16_t>(matrix.zeros, group))};
    case Metadata::f32:
      return {get<float>(matrix.scales, group), get<float>(matrix.zeros, group)};
  }
  return {};
}

}  // namespace

void dequantize_matrix(const QuantizedView& matrix, float* out) {
  const QuantizedLayout& layout = matrix.layout;
  affine::check_scheme(layout.scheme, {Fit::mse, layout.axis, layout.metadata}, "dequantize matrix");
  affine::check_shape(layout.rows, layout.cols, "dequantize matrix");
  check_length("codes", matrix.codes, layout.code_bytes());
  check_length("scales", matrix.scales, layout.scale_bytes());
  check_length("zeros", matrix.zeros, layout.scale_bytes());
  check_length("scale steps", matrix.scale_steps, layout.step_bytes());
  check_length("zero steps", matrix.zero_steps, layout.step_bytes());
  check_length("column scales", matrix.column_scales, layout.column_scale_bytes());
  if (layout.rows == 0 || layout.cols == 0) return;

  std::vector<float> column_scales;
  for (int64_t k = 0; layout.has_column_scales && k < layout.cols; ++k) {
    column_scales.push_back(f32_from_f16(get<uint16_t>(matrix.column_scales, k)));
  }
  const int bits = layout.scheme.bits;
  const int64_t group = layout.scheme.group, groups = layout.groups();
  const auto scale_columns = [&](float* row) {
    for (size_t k = 0; k < column_scales.size(); ++k) row[k] *= column_scales[k];
  };

  std::vector<float> scales(static_cast<size_t>(groups)), zeros(static_cast<size_t>(groups));
  constexpr int64_t kChunk = 1 << 14;
  parallel_for((groups + kChunk - 1) / kChunk, [&](int64_t chunk) {
    for (int64_t j = chunk * kChunk; j < std::min(groups, (chunk + 1) * kChunk); ++j) {
      const GroupValues values = group_values(matrix, j);
      scales[j] = values.scale;
      zeros[j] = values.zero;
    }
  });
  if (layout.axis == 1) {
    const int64_t per_row = groups / layout.rows, row_bytes = layout.code_row_bytes();
    parallel_for(layout.rows, [&](int64_t r) {
      float* row = out + r * layout.cols;
      dequantize_groups(reinterpret_cast<const uint8_t*>(matrix.codes.data()) + r * row_bytes, row_bytes, bits,
                        static_cast<int>(group), layout.cols, scales.data() + r * per_row, zeros.data() + r * per_row,
                        row);
      scale_columns(row);
    });
    return;
  }
  parallel_for(layout.rows, [&](int64_t r) {
    std::vector<uint8_t> codes(static_cast<size_t>(layout.cols));
    const int64_t first = r * layout.cols;
    unpack_codes(matrix.codes, bits, first, layout.cols, codes.data());
    float* row = out + first;
    // Runs of neighbouring groups.
    for (int64_t k = 0; k < layout.cols;) {
      const int64_t j = (first + k) % groups, run = std::min(layout.cols - k, groups - j);
      dequantize_elements(codes.data() + k, run, scales.data() + j, zeros.data() + j, row + k);
      k += run;
    }
    scale_columns(row);
  });
}

}  // namespace mxq
