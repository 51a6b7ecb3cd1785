#include "model/packed_columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "base/bitpack.h"
#include "base/parallel.h"
#include "format/weights.h"
#include "model/stored_groups.h"
#include "mxq/error.h"
#include "schemes/part_bytes.h"

namespace mxq {

namespace {

constexpr int64_t kWord = 32, kNibbles = 8;
/// Where a word of AWQ has the nibble of each of its eight columns.
constexpr std::array<int, kNibbles> kPlace{0, 4, 1, 5, 2, 6, 3, 7};

/// Makes the parts of rows [first, first + count).
class Maker {
 public:
  Maker(const PackedColumns& matrix, int64_t first, int64_t count, const std::string& name,
        const std::string& operation)
      : matrix_(matrix),
        first_(first),
        count_(count),
        bits_(static_cast<int>(matrix.bits)),
        name_(name),
        operation_(operation),
        order_(columns_in_order(matrix)) {
    QuantizedLayout layout = packed_columns_layout(matrix);
    layout.rows = count;
    made_ = QuantizedMatrix(layout);
  }

  QuantizedMatrix make() {
    if (count_ == 0) return std::move(made_);
    matrix_.words_along_rows ? codes_along_rows() : codes_down_columns();
    scales_and_zeros();
    return std::move(made_);
  }

 private:
  uint32_t word(std::span<const std::byte> words, int64_t index) const { return get_value<uint32_t>(words, index); }
  std::byte* code_row(int64_t row) { return made_.part("codes").data() + row * made_.layout.code_row_bytes(); }

  void codes_down_columns() {
    const int64_t words = matrix_.cols * bits_ / kWord;
    constexpr int64_t kRows = 16;  // a line of the file's bytes
    parallel_for((count_ + kRows - 1) / kRows, [&](int64_t block) {
      const int64_t begin = block * kRows, end = std::min(begin + kRows, count_);
      for (int64_t w = 0; w < words; ++w) {
        for (int64_t r = begin; r < end; ++r) {
          const uint32_t value = word(matrix_.codes, w * matrix_.rows + first_ + r);
          std::memcpy(code_row(r) + 4 * w, &value, sizeof value);
        }
      }
      if (order_.empty()) return;
      std::vector<uint8_t> codes(static_cast<size_t>(matrix_.cols)), moved(codes.size());
      for (int64_t r = begin; r < end; ++r) {
        unpack_codes({code_row(r), static_cast<size_t>(made_.layout.code_row_bytes())}, bits_, 0, matrix_.cols,
                     codes.data());
        for (size_t i = 0; i < moved.size(); ++i) moved[i] = codes[static_cast<size_t>(order_[i])];
        pack_codes(moved.data(), matrix_.cols, bits_, code_row(r));
      }
    });
  }

  void codes_along_rows() {
    const int64_t words = matrix_.rows / kNibbles;
    parallel_for(count_, [&](int64_t r) {
      const int64_t row = first_ + r;
      const int shift = 4 * kPlace[static_cast<size_t>(row % kNibbles)];
      std::vector<uint8_t> codes(static_cast<size_t>(matrix_.cols));
      for (int64_t k = 0; k < matrix_.cols; ++k) {
        codes[static_cast<size_t>(k)] =
            static_cast<uint8_t>(word(matrix_.codes, k * words + row / kNibbles) >> shift & 15);
      }
      pack_codes(codes.data(), matrix_.cols, bits_, code_row(r));
    });
  }

  void scales_and_zeros() {
    const int64_t groups = matrix_.groups();
    std::vector<float> scales(static_cast<size_t>(groups * count_));
    std::vector<int> zeros(scales.size());
    for (int64_t g = 0; g < groups; ++g) {
      read_f32(matrix_.scales, g * matrix_.rows + first_, count_, scales.data() + g * count_);
      read_zeros(g, zeros.data() + g * count_);
    }
    const QuantizedLayout& layout = made_.layout;
    const PartSpec spec = layout.parts()[1];
    const auto scale_part = made_.part("scales"), zero_part = made_.part("zeros");
    const int64_t parts = layout.groups() / count_, unit = dtype_block_bytes(spec.dtype);
    parallel_for(count_, [&](int64_t r) {
      for (int64_t part = 0; part < parts; ++part) {
        const auto at =
            static_cast<size_t>(file_group(part, layout.scheme.group, matrix_.cols, matrix_.group) * count_ + r);
        const auto zero = static_cast<float>(zeros[at]);
        write_dtype(&scales[at], 1, spec.dtype, scale_part.data() + (r * parts + part) * unit);
        write_dtype(&zero, 1, spec.dtype, zero_part.data() + (r * parts + part) * unit);
      }
    });
  }

  /// Those of group `g` of the rows.
  void read_zeros(int64_t g, int* zeros) const {
    const int64_t words = matrix_.rows * bits_ / kWord;
    const auto stored = matrix_.zeros.subspan(static_cast<size_t>(4 * g * words), static_cast<size_t>(4 * words));
    if (matrix_.words_along_rows) {
      for (int64_t r = 0; r < count_; ++r) {
        const int64_t row = first_ + r;
        zeros[r] =
            static_cast<int>(word(stored, row / kNibbles) >> (4 * kPlace[static_cast<size_t>(row % kNibbles)]) & 15);
      }
      return;
    }
    std::vector<std::byte> carried;
    const bool as_words = matrix_.zeros_less_one && matrix_.zeros_carry && kWord % bits_ == 0;
    if (as_words) {
      uint32_t ones = 0;
      for (int b = 0; b < kWord; b += bits_) ones |= uint32_t{1} << b;
      carried.resize(stored.size());
      for (int64_t w = 0; w < words; ++w) put_value(std::span(carried), w, word(stored, w) + ones);
    }
    std::vector<uint8_t> codes(static_cast<size_t>(count_));
    unpack_codes(as_words ? std::span<const std::byte>(carried) : stored, bits_, first_, count_, codes.data());
    const int all = 1 << bits_, middle = all / 2;
    for (int64_t r = 0; r < count_; ++r) {
      const int code = codes[static_cast<size_t>(r)];
      int zero = matrix_.zeros_less_one && !as_words ? code + 1 : code;
      if (matrix_.zeros_carry) zero %= all;
      if (matrix_.symmetric) {
        // Some writers say version 1, whose zeros are less one, and mean version 2.
        if (zero != middle && code != middle) {
          refuse(g, r, zero, fmt::format("{}, the zero of all groups of a symmetric matrix", middle));
        }
        zero = middle;
      }
      // Readers make that 0, or a carry into the next zero, or what it says.
      if (zero >= all) refuse(g, r, zero, fmt::format("zeros up to {}, or 'checkpoint_format' gptq_v2", all - 1));
      zeros[r] = zero;
    }
  }

  [[noreturn]] void refuse(int64_t group, int64_t row, int zero, std::string allowed) const {
    throw Error(ErrorCode::unsupported, operation_,
                fmt::format("'{}.qzeros' has the zero {} for group {} of column {}", name_, zero, group, first_ + row),
                std::move(allowed));
  }

  const PackedColumns& matrix_;
  int64_t first_, count_;
  int bits_;
  const std::string &name_, &operation_;
  std::vector<int64_t> order_;
  QuantizedMatrix made_;
};

}  // namespace

QuantizedLayout packed_columns_layout(const PackedColumns& matrix) {
  return {matrix.rows,
          matrix.cols,
          {static_cast<int>(matrix.bits), stored_group(matrix.cols, matrix.group)},
          1,
          matrix.scales.dtype == DType::f16 ? Metadata::f16 : Metadata::f32};
}

QuantizedMatrix read_packed_columns(const PackedColumns& matrix, int64_t first, int64_t count, const std::string& name,
                                    const std::string& operation) {
  return Maker(matrix, first, count, name, operation).make();
}

std::vector<int64_t> columns_in_order(const PackedColumns& matrix) {
  std::vector<int64_t> order(matrix.group_of.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return matrix.group_of[static_cast<size_t>(a)] < matrix.group_of[static_cast<size_t>(b)];
  });
  return order;
}

}  // namespace mxq
