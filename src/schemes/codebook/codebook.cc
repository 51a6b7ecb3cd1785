#include "schemes/codebook/codebook.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bitpack.h"
#include "base/half.h"
#include "base/parallel.h"
#include "kernels/dequantize.h"
#include "mxq/error.h"
#include "schemes/codebook/coding.h"
#include "schemes/codebook/scales.h"
#include "schemes/part_bytes.h"

namespace mxq::codebook {

CodebookFamily::CodebookFamily(std::string_view name, std::string_view prefix, bool stores_levels)
    : name_(name), prefix_(prefix), stores_levels_(stores_levels) {
  for (const int bits : {2, 3, 4}) {
    for (const int group : {32, 64, 128}) schemes_.push_back({.bits = bits, .group = group, .family = name});
  }
}

std::string CodebookFamily::scheme_name(const Scheme& scheme) const {
  return fmt::format("{}{}g{}", prefix_, scheme.bits, scheme.group);
}

void CodebookFamily::check(const Scheme& scheme, int axis, Metadata metadata, const char* operation) const {
  if (std::find(schemes_.begin(), schemes_.end(), scheme) == schemes_.end()) {
    throw Error(ErrorCode::unsupported, operation,
                fmt::format("{} of {} bits in groups of {}", name_, scheme.bits, scheme.group),
                "2, 3 or 4 bits in groups of 32, 64 or 128");
  }
  if (axis != 1) throw Error(ErrorCode::unsupported, operation, fmt::format("{} on axis {}", name_, axis), "axis 1");
  if (has_bias(metadata)) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("{} with metadata {}", name_, metadata_name(metadata)),
                "q8, f16 or f32");
  }
}

std::vector<PartSpec> CodebookFamily::parts(const QuantizedLayout& layout) const {
  const int64_t groups = layout.groups(), codes = layout.rows * layout.code_row_bytes();
  std::vector<PartSpec> parts;
  if (layout.metadata == Metadata::f32) parts.push_back({"scales", DType::f32, groups});
  if (stores_levels_) parts.push_back({"levels", DType::f16, int64_t{1} << layout.scheme.bits});
  if (layout.metadata == Metadata::f16) parts.push_back({"scales", DType::f16, groups});
  if (layout.metadata == Metadata::q8) {
    parts.push_back({"scale_steps", DType::f16, (groups + kGroupsPerStep - 1) / kGroupsPerStep});
    parts.push_back({"codes", DType::u8, padded_to_words(codes + groups) - groups});
    parts.push_back({"scales", DType::u8, groups});
  } else {
    parts.push_back({"codes", DType::u8, padded_to_words(codes)});
  }
  return parts;
}

void CodebookFamily::quantize(MatrixView matrix, const QuantizeOptions&, QuantizedMatrix& out) const {
  const QuantizedLayout& layout = out.layout;
  const int64_t size = layout.scheme.group, cols = matrix.cols, row_bytes = layout.code_row_bytes();
  const int64_t per_row = layout.groups() / matrix.rows;
  const TileLevels table = tile_levels(write_levels(matrix, out));
  std::vector<float> scales = fit_scales(matrix, layout.scheme.group, table);
  StoredScales stored(out);
  stored.settle_steps(matrix, table, scales, 1);
  for (int64_t j = 0; j < std::ssize(scales); ++j) scales[static_cast<size_t>(j)] = stored.store(j, scales[j]);
  const auto codes = out.part("codes");
  parallel_for((matrix.rows + kTileLanes - 1) / kTileLanes, [&](int64_t sixteen) {
    const int64_t first = sixteen * kTileLanes, lanes = std::min<int64_t>(kTileLanes, matrix.rows - first);
    const auto tile = groups::allocate_floats(size * kTileLanes);
    std::vector<uint8_t> found(static_cast<size_t>(size * kTileLanes)), rows(static_cast<size_t>(lanes * cols));
    for (int64_t k = 0; k < cols; k += size) {
      const int64_t n = std::min(size, cols - k);
      const float* groups[kTileLanes];
      float inverse[kTileLanes];
      for (int64_t l = 0; l < kTileLanes; ++l) {
        const int64_t row = first + std::min(l, lanes - 1);
        groups[l] = matrix.data + row * cols + k;
        const float scale = scales[static_cast<size_t>(row * per_row + k / size)];
        inverse[l] = scale < kSmallestCodebookScale ? 0 : 1 / scale;
      }
      tile_load_groups(groups, static_cast<int>(n), tile.get());
      tile_level_codes(tile.get(), static_cast<int>(n), table, inverse, found.data());
      for (int64_t l = 0; l < lanes; ++l) {
        for (int64_t i = 0; i < n; ++i) rows[l * cols + k + i] = found[i * kTileLanes + l];
      }
    }
    for (int64_t l = 0; l < lanes; ++l) {
      pack_codes(rows.data() + l * cols, cols, layout.scheme.bits, codes.data() + (first + l) * row_bytes);
    }
  });
}

std::unique_ptr<feedback::GroupCoding> CodebookFamily::group_coding(MatrixView matrix, const FeedbackFactor&,
                                                                    QuantizedMatrix& out) const {
  return codebook_coding(matrix, write_levels(matrix, out), out);
}

std::vector<float> CodebookFamily::write_levels(MatrixView matrix, QuantizedMatrix& out) const {
  std::vector<float> table = levels(matrix, out.layout.scheme);
  if (stores_levels_) {
    const auto stored = out.part("levels");
    for (size_t i = 0; i < table.size(); ++i) {
      const uint16_t half = f16_from_f32(table[i]);
      std::memcpy(stored.data() + i * sizeof half, &half, sizeof half);
    }
  }
  return table;
}

void CodebookFamily::dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const {
  const QuantizedLayout& layout = matrix.layout;
  const int64_t cols = layout.cols, per_row = layout.groups() / layout.rows;
  const auto codes = matrix.part("codes"), scales = matrix.part("scales"), steps = matrix.part("scale_steps");
  std::array<float, kMostLevels> table{};
  if (stores_levels_) {
    const auto stored = matrix.part("levels");
    for (int64_t i = 0; i < int64_t{1} << layout.scheme.bits; ++i)
      table[i] = f32_from_f16(get_value<uint16_t>(stored, i));
  } else {
    const std::vector<float> own = levels({}, layout.scheme);
    std::copy(own.begin(), own.end(), table.begin());
  }
  const auto scale_of = [&](int64_t j) {
    switch (layout.metadata) {
      case Metadata::q8:
        return f32_from_f16(get_value<uint16_t>(steps, j / kGroupsPerStep)) *
               static_cast<float>(get_value<uint8_t>(scales, j));
      case Metadata::f16:
        return f32_from_f16(get_value<uint16_t>(scales, j));
      case Metadata::f32:
        return get_value<float>(scales, j);
      default:
        break;
    }
    return 0.0f;
  };
  parallel_for(rows, [&](int64_t r) {
    std::vector<float> row_scales(static_cast<size_t>(per_row));
    for (int64_t j = 0; j < per_row; ++j) row_scales[static_cast<size_t>(j)] = scale_of((first_row + r) * per_row + j);
    const auto* stream = reinterpret_cast<const uint8_t*>(codes.data()) + (first_row + r) * layout.code_row_bytes();
    dequantize_levels(stream, layout.code_row_bytes(), layout.scheme.bits, layout.scheme.group, cols, row_scales.data(),
                      table.data(), out + r * cols);
  });
}

}  // namespace mxq::codebook
