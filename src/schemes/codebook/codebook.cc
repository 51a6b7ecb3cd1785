#include "schemes/codebook/codebook.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "base/bitpack.h"
#include "base/half.h"
#include "base/parallel.h"
#include "mxq/error.h"
#include "schemes/affine/metadata.h"
#include "schemes/codebook/lloyd_max.h"

namespace mxq::codebook {

namespace {

constexpr int kMostLevels = 16;
constexpr int64_t kLargestGroup = 128;
constexpr float kLargestHalf = 65504.0f;
/// Groups whose scale is below this become zeros: what divides by it may not be infinite.
constexpr float kSmallestScale = 1e-37f;
/// A block whose largest scale is this many times the median is looked at more closely.
constexpr float kOutlier = 6.0f;

template <typename Value>
Value get(std::span<const std::byte> bytes, int64_t index) {
  Value value;
  std::memcpy(&value, bytes.data() + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

template <typename Value>
void put(std::span<std::byte> bytes, int64_t index, Value value) {
  std::memcpy(bytes.data() + index * static_cast<int64_t>(sizeof value), &value, sizeof value);
}

/// One group against the levels.
class GroupCoder {
 public:
  explicit GroupCoder(std::span<const float> levels) : levels_(levels) {
    for (size_t i = 0; i + 1 < levels.size(); ++i) midpoints_[i] = 0.5f * (levels[i] + levels[i + 1]);
  }

  /// The codes of the levels nearest to weights / scale, the lower one of two.
  const int32_t* code(const float* weights, int64_t n, float scale) {
    std::fill_n(codes_.begin(), n, 0);
    if (scale < kSmallestScale) return codes_.data();
    const float inverse = 1 / scale;
    for (size_t m = 0; m + 1 < levels_.size(); ++m) {
      const float midpoint = midpoints_[m];
      for (int64_t i = 0; i < n; ++i) codes_[i] += midpoint < weights[i] * inverse;
    }
    return codes_.data();
  }

  /// Squared error with the codes of code(weights, n, scale).
  double error(const float* weights, int64_t n, float scale) {
    const int32_t* codes = code(weights, n, scale);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double error = double{weights[i]} - double{levels_[codes[i]]} * (scale < kSmallestScale ? 0 : scale);
      sum += error * error;
    }
    return sum;
  }

  /// The scale of least squared error that is found from these starts.
  float fit(const float* weights, int64_t n) {
    double squares = 0;
    for (int64_t i = 0; i < n; ++i) squares += double{weights[i]} * weights[i];
    const double rms = std::sqrt(squares / static_cast<double>(n));
    float best = 0;
    double least = squares;
    for (const double start : {1.0, 0.85, 1.2}) {
      auto scale = static_cast<float>(std::min(start * rms, double{std::numeric_limits<float>::max()}));
      constexpr int kRounds = 8;
      for (int round = 0; round < kRounds && scale >= kSmallestScale; ++round) {
        const int32_t* codes = code(weights, n, scale);
        double with_levels = 0, of_levels = 0;
        for (int64_t i = 0; i < n; ++i) {
          const double level = levels_[codes[i]];
          with_levels += weights[i] * level;
          of_levels += level * level;
        }
        if (!(with_levels > 0)) break;
        const double e = squares - with_levels * with_levels / of_levels;
        const auto next =
            static_cast<float>(std::min(with_levels / of_levels, double{std::numeric_limits<float>::max()}));
        if (e < least) {
          least = e;
          best = next;
        }
        if (next == scale) break;
        scale = next;
      }
    }
    return best < kSmallestScale ? 0 : best;
  }

 private:
  std::span<const float> levels_;
  std::array<float, kMostLevels> midpoints_{};
  std::array<int32_t, kLargestGroup> codes_;
};

/// Where group number `index` of the matrix lies.
struct Group {
  Group(MatrixView matrix, int64_t size, int64_t index) {
    const int64_t per_row = (matrix.cols + size - 1) / size, k = index % per_row * size;
    row = index / per_row;
    first = k;
    weights = matrix.data + row * matrix.cols + k;
    n = std::min(size, matrix.cols - k);
  }
  int64_t row, first, n;
  const float* weights;
};

/// The step of q8 that serves a block of groups: their largest scale, or where that dwarfs the others a smaller one, to
/// which larger scales are cut, if the block's error falls.
uint16_t choose_step(std::span<const float> scales, GroupCoder& coder, const std::function<Group(size_t)>& group) {
  const float largest = *std::max_element(scales.begin(), scales.end());
  std::vector<float> sorted(scales.begin(), scales.end());
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<int64_t>(sorted.size() / 2), sorted.end());
  const float median = sorted[sorted.size() / 2];
  const uint16_t usual = affine::half_at_least(largest / 255);
  if (largest <= kOutlier * median) return usual;
  uint16_t best = usual;
  double least = std::numeric_limits<double>::infinity();
  for (float limit = largest; limit >= std::max(median, kSmallestScale); limit *= 0.5f) {
    const uint16_t half = affine::half_at_least(limit / 255);
    const float step = f32_from_f16(half);
    double sum = 0;
    for (size_t i = 0; i < scales.size(); ++i) {
      const Group g = group(i);
      sum += coder.error(g.weights, g.n, step * std::min(std::nearbyint(scales[i] / step), 255.0f));
    }
    if (sum < least) {
      least = sum;
      best = half;
    }
  }
  return best;
}

int64_t padded(int64_t bytes) {
  constexpr int64_t kWord = 4;
  return (bytes + kWord - 1) / kWord * kWord;
}

}  // namespace

CodebookFamily::CodebookFamily(std::string_view name, std::string_view prefix, bool stores_levels)
    : name_(name), prefix_(prefix), stores_levels_(stores_levels) {
  for (const int bits : {2, 3, 4}) {
    for (const int group : {32, 64, 128}) schemes_.push_back({.bits = bits, .group = group, .family = name});
  }
}

std::string CodebookFamily::scheme_name(const Scheme& scheme) const {
  return fmt::format("{}{}g{}", prefix_, scheme.bits, scheme.group);
}

void CodebookFamily::check(const Scheme& scheme, int axis, Metadata, const char* operation) const {
  if (std::find(schemes_.begin(), schemes_.end(), scheme) == schemes_.end()) {
    throw Error(ErrorCode::unsupported, operation,
                fmt::format("{} of {} bits in groups of {}", name_, scheme.bits, scheme.group),
                "2, 3 or 4 bits in groups of 32, 64 or 128");
  }
  if (axis != 1) throw Error(ErrorCode::unsupported, operation, fmt::format("{} on axis {}", name_, axis), "axis 1");
}

std::vector<PartSpec> CodebookFamily::parts(const QuantizedLayout& layout) const {
  const int64_t groups = layout.groups(), codes = layout.rows * layout.code_row_bytes();
  std::vector<PartSpec> parts;
  if (layout.metadata == Metadata::f32) parts.push_back({"scales", DType::f32, groups});
  if (stores_levels_) parts.push_back({"levels", DType::f16, int64_t{1} << layout.scheme.bits});
  if (layout.metadata == Metadata::f16) parts.push_back({"scales", DType::f16, groups});
  if (layout.metadata == Metadata::q8) {
    parts.push_back({"scale_steps", DType::f16, (groups + kGroupsPerStep - 1) / kGroupsPerStep});
    parts.push_back({"codes", DType::u8, padded(codes + groups) - groups});
    parts.push_back({"scales", DType::u8, groups});
  } else {
    parts.push_back({"codes", DType::u8, padded(codes)});
  }
  return parts;
}

void CodebookFamily::quantize(MatrixView matrix, const QuantizeOptions&, QuantizedMatrix& out) const {
  const QuantizedLayout& layout = out.layout;
  const int64_t size = layout.scheme.group, groups = layout.groups(), row_bytes = layout.code_row_bytes();
  const int64_t per_row = groups / matrix.rows;
  const std::vector<float> table = levels(matrix, layout.scheme);
  if (stores_levels_) {
    const auto stored = out.part("levels");
    for (size_t i = 0; i < table.size(); ++i) put(stored, static_cast<int64_t>(i), f16_from_f32(table[i]));
  }
  std::vector<float> scales(static_cast<size_t>(groups));  // as a reader finds them
  const auto stored = out.part("scales"), steps = out.part("scale_steps");
  parallel_for((groups + kGroupsPerStep - 1) / kGroupsPerStep, [&](int64_t block) {
    GroupCoder coder(table);
    const int64_t first = block * kGroupsPerStep, end = std::min(groups, first + kGroupsPerStep);
    for (int64_t j = first; j < end; ++j) {
      const Group g(matrix, size, j);
      scales[j] = coder.fit(g.weights, g.n);
    }
    if (layout.metadata == Metadata::f32) {
      for (int64_t j = first; j < end; ++j) put(stored, j, scales[j]);
    } else if (layout.metadata == Metadata::f16) {
      for (int64_t j = first; j < end; ++j) {
        const uint16_t half = f16_from_f32(std::min(scales[j], kLargestHalf));
        put(stored, j, half);
        scales[j] = f32_from_f16(half);
      }
    } else {
      const std::span<float> own(scales.data() + first, static_cast<size_t>(end - first));
      const uint16_t half =
          choose_step(own, coder, [&](size_t i) { return Group(matrix, size, first + static_cast<int64_t>(i)); });
      const float step = f32_from_f16(half);
      put(steps, block, half);
      for (int64_t j = first; j < end; ++j) {
        const auto code = static_cast<uint8_t>(step > 0 ? std::min(std::nearbyint(scales[j] / step), 255.0f) : 0);
        put(stored, j, code);
        scales[j] = step * static_cast<float>(code);
      }
    }
  });
  const auto codes = out.part("codes");
  parallel_for(matrix.rows, [&](int64_t r) {
    GroupCoder coder(table);
    std::vector<uint8_t> row(static_cast<size_t>(matrix.cols));
    for (int64_t j = r * per_row; j < (r + 1) * per_row; ++j) {
      const Group g(matrix, size, j);
      const int32_t* found = coder.code(g.weights, g.n, scales[j]);
      for (int64_t i = 0; i < g.n; ++i) row[g.first + i] = static_cast<uint8_t>(found[i]);
    }
    pack_codes(row.data(), matrix.cols, layout.scheme.bits, codes.data() + r * row_bytes);
  });
}

void CodebookFamily::dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const {
  const QuantizedLayout& layout = matrix.layout;
  const int64_t cols = layout.cols, group = layout.scheme.group, per_row = layout.groups() / layout.rows;
  const auto codes = matrix.part("codes"), scales = matrix.part("scales"), steps = matrix.part("scale_steps");
  std::array<float, kMostLevels> table{};
  if (stores_levels_) {
    const auto stored = matrix.part("levels");
    for (int64_t i = 0; i < int64_t{1} << layout.scheme.bits; ++i) table[i] = f32_from_f16(get<uint16_t>(stored, i));
  } else {
    const auto& levels = lloyd_max_levels(layout.scheme.bits);
    std::copy(levels.begin(), levels.end(), table.begin());
  }
  const auto scale_of = [&](int64_t j) {
    switch (layout.metadata) {
      case Metadata::q8:
        return f32_from_f16(get<uint16_t>(steps, j / kGroupsPerStep)) * static_cast<float>(get<uint8_t>(scales, j));
      case Metadata::f16:
        return f32_from_f16(get<uint16_t>(scales, j));
      case Metadata::f32:
        return get<float>(scales, j);
    }
    return 0.0f;
  };
  parallel_for(rows, [&](int64_t r) {
    std::vector<uint8_t> row(static_cast<size_t>(cols));
    const int64_t begin = (first_row + r) * layout.code_row_bytes();
    unpack_codes(codes.subspan(static_cast<size_t>(begin)), layout.scheme.bits, 0, cols, row.data());
    float* to = out + r * cols;
    for (int64_t k = 0; k < cols; k += group) {
      const float scale = scale_of((first_row + r) * per_row + k / group);
      const int64_t end = std::min(cols, k + group);
      for (int64_t i = k; i < end; ++i) to[i] = table[row[i]] * scale;
    }
  });
}

}  // namespace mxq::codebook
