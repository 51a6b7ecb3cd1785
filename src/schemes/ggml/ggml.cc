#include "schemes/ggml/ggml.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <utility>

#include "base/parallel.h"
#include "kernels/feedback_tile.h"
#include "mxq/error.h"
#include "schemes/feedback/factor.h"
#include "schemes/feedback/group_coding.h"
#include "schemes/ggml/block_fitter.h"

namespace mxq {

namespace ggml {

namespace {

/// Writes blocks by their number in the matrix, row after row.
class Blocks {
 public:
  Blocks(const Type& type, QuantizedMatrix& out)
      : type_(type), bytes_(dtype_block_bytes(type.dtype)), out_(out.part("blocks")) {}

  void write(int64_t number, const GgmlBlock& block) const {
    pack_ggml_block(type_.dtype, block, out_.data() + number * bytes_);
  }

 private:
  const Type& type_;
  int64_t bytes_;
  std::span<std::byte> out_;
};

/// The codes of a group, [group][kTileLanes], without feedback.
void code_group(const Type& type, const BlockFitter& fitter, int g, const float* tile, uint8_t* codes) {
  if (type.kind == Type::Kind::levels) {
    tile_level_codes(tile, type.group, fitter.levels(), fitter.inverse_scale(g), codes);
  } else {
    tile_codes(tile, type.group, type.max_code(), fitter.inverse_scale(g), fitter.zero(g), codes);
  }
}

class Coder : public feedback::GroupCoder {
 public:
  Coder(const Type& type, const Blocks& blocks)
      : type_(type), blocks_(blocks), fitter_(type), updated_(groups::allocate_floats(type.group * kTileLanes)) {}

  void settle(const float* tile, const float* weights, int n, const int64_t* group, int lanes) override {
    fitter_.fit(tile, weights);
    weights_ = weights;
    std::copy_n(group, lanes, group_);
    lanes_ = lanes;
    (void)n;
  }

  // Group after group, each with a scale for what the errors of those before it have made of its weights.
  void code(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, uint8_t* codes,
            float* errors) override {
    const int size = type_.group;
    for (int g = 0, at = 0; at < n; ++g, at += size) {
      float* const part = tile + at * kTileLanes;
      const float* const own = weights + at * kTileLanes;
      float* const lost = errors + at * kTileLanes;
      const float* const of_part = coefficients + at * stride + at;
      if (g > 0) {
        std::memcpy(updated_.get(), part, static_cast<size_t>(size * kTileLanes) * sizeof(float));
        tile_update(updated_.get(), own, size, of_part, stride, lost);
        fitter_.refit(g, updated_.get(), weights_ + at);
      }
      const FeedbackGrid grid{fitter_.inverse_scale(g), fitter_.scale(g), fitter_.zero(g)};
      uint8_t* const to = codes + at * kTileLanes;
      if (type_.kind == Type::Kind::levels) {
        tile_level_feedback(part, own, size, fitter_.levels(), of_part, stride, grid, to, lost);
      } else {
        tile_feedback(part, own, size, type_.max_code(), of_part, stride, grid, to, lost);
      }
      tile_add_feedback(lost, size, of_part + size * stride, stride, n - at - size, part + size * kTileLanes);
    }
    for (int l = 0; l < lanes_; ++l) coded_.emplace_back(group_[l], fitter_.block(l));
    tiles_.push_back(lanes_);
  }

  int grid_columns() const override { return type_.group; }
  void grid(int g, feedback::GroupGrid& out) const override {
    std::copy_n(fitter_.inverse_scale(g), kTileLanes, out.inverse_scale);
    std::copy_n(fitter_.scale(g), kTileLanes, out.scale);
    std::copy_n(fitter_.zero(g), kTileLanes, out.zero);
  }
  void descend(float* tile, const float* values, int n, const float* moments, const float* inverse_diagonal,
               int64_t stride, const feedback::GroupGrid& grid, uint8_t* codes, float* changes) const override {
    const FeedbackGrid of{grid.inverse_scale, grid.scale, grid.zero};
    if (type_.kind == Type::Kind::levels) {
      tile_level_descend(tile, values, n, fitter_.levels(), moments, stride, inverse_diagonal, of, codes, changes);
    } else {
      tile_descend(tile, values, n, type_.max_code(), moments, stride, inverse_diagonal, of, codes, changes);
    }
  }

  void write(const uint8_t* codes, int n) override {
    const int lanes = tiles_.front();
    tiles_.pop_front();
    for (int l = 0; l < lanes; ++l) {
      auto& [number, block] = coded_.front();
      for (int i = 0; i < n; ++i) block.codes[i] = codes[i * kTileLanes + l];
      blocks_.write(number, block);
      coded_.pop_front();
    }
  }

 private:
  const Type& type_;
  const Blocks& blocks_;
  BlockFitter fitter_;
  groups::AlignedFloats updated_;
  const float* weights_ = nullptr;  // of squared errors, a column each
  int64_t group_[kTileLanes] = {};
  int lanes_ = 0;
  // Coded and not yet written: blocks by their numbers, and how many of each call of code().
  std::deque<std::pair<int64_t, GgmlBlock>> coded_;
  std::deque<int> tiles_;
};

class Coding : public feedback::GroupCoding {
 public:
  Coding(const Type& type, QuantizedMatrix& out) : type_(type), blocks_(type, out) {}

  std::unique_ptr<feedback::GroupCoder> coder() const override { return std::make_unique<Coder>(type_, blocks_); }

 private:
  const Type& type_;
  Blocks blocks_;
};

}  // namespace

GgmlFamily::GgmlFamily(const Type& type)
    : type_(type), schemes_{{.bits = type.bits, .group = type.block, .family = type.name}} {}

std::string_view GgmlFamily::name() const {
  return type_.name;
}

std::string GgmlFamily::scheme_name(const Scheme&) const {
  return std::string(type_.name);
}

void GgmlFamily::check(const Scheme& scheme, int axis, Metadata, const char* operation) const {
  if (scheme != schemes_.front()) {
    throw Error(ErrorCode::unsupported, operation,
                fmt::format("{} of {} bits in blocks of {}", type_.name, scheme.bits, scheme.group),
                fmt::format("{} bits in blocks of {}", type_.bits, type_.block));
  }
  if (axis != 1) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("{} on axis {}", type_.name, axis), "axis 1");
  }
}

int64_t GgmlFamily::block_columns() const {
  return type_.block;
}

std::vector<PartSpec> GgmlFamily::parts(const QuantizedLayout& layout) const {
  const int64_t blocks = layout.rows * (layout.cols / type_.block);
  return {{"blocks", DType::u8, blocks * dtype_block_bytes(type_.dtype)}};
}

void GgmlFamily::quantize(MatrixView matrix, const QuantizeOptions&, QuantizedMatrix& out) const {
  const Blocks blocks(type_, out);
  const int64_t per_row = matrix.cols / type_.block, size = type_.block;
  parallel_for((matrix.rows + kTileLanes - 1) / kTileLanes, [&](int64_t sixteen) {
    const int64_t first = sixteen * kTileLanes, lanes = std::min<int64_t>(kTileLanes, matrix.rows - first);
    const auto tile = groups::allocate_floats(size * kTileLanes);
    std::vector<uint8_t> codes(static_cast<size_t>(type_.group * kTileLanes));
    BlockFitter fitter(type_);
    for (int64_t b = 0; b < per_row; ++b) {
      const float* rows[kTileLanes];
      for (int64_t l = 0; l < kTileLanes; ++l) {
        rows[l] = matrix.data + (first + std::min(l, lanes - 1)) * matrix.cols + b * size;
      }
      tile_load_groups(rows, static_cast<int>(size), tile.get());
      fitter.fit(tile.get(), nullptr);
      for (int g = 0; g < type_.groups(); ++g) {
        code_group(type_, fitter, g, tile.get() + g * type_.group * kTileLanes, codes.data());
        for (int64_t l = 0; l < lanes; ++l) {
          for (int i = 0; i < type_.group; ++i) {
            fitter.block(static_cast<int>(l)).codes[g * type_.group + i] = codes[i * kTileLanes + l];
          }
        }
      }
      for (int64_t l = 0; l < lanes; ++l) blocks.write((first + l) * per_row + b, fitter.block(static_cast<int>(l)));
    }
  });
}

void GgmlFamily::dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const {
  const int64_t cols = matrix.layout.cols, per_row = cols / type_.block;
  const int64_t row_bytes = per_row * dtype_block_bytes(type_.dtype);
  const std::byte* const bytes = matrix.part("blocks").data() + first_row * row_bytes;
  parallel_for(rows,
               [&](int64_t r) { dequantize_ggml_blocks(type_.dtype, bytes + r * row_bytes, per_row, out + r * cols); });
}

std::unique_ptr<feedback::GroupCoding> GgmlFamily::group_coding(MatrixView, const FeedbackFactor& factor,
                                                                QuantizedMatrix& out) const {
  if (factor.ordered_groups() != 0) {
    throw Error(ErrorCode::unsupported, "quantize matrix by GPTQ",
                fmt::format("columns in another order for {}, whose scales are of neighbours", type_.name),
                "columns from the left");
  }
  if (factor.grid() != GptqOptions::Grid::least_squares) {
    throw Error(ErrorCode::unsupported, "quantize matrix by GPTQ",
                fmt::format("a grid from the range of weights for {}", type_.name), "least squares");
  }
  return std::make_unique<Coding>(type_, out);
}

}  // namespace ggml

const std::vector<const SchemeFamily*>& ggml_families() {
  static const std::vector<ggml::GgmlFamily> families(ggml::types().begin(), ggml::types().end());
  static const std::vector<const SchemeFamily*> pointers = [] {
    std::vector<const SchemeFamily*> all;
    for (const auto& family : families) all.push_back(&family);
    return all;
  }();
  return pointers;
}

std::optional<DType> ggml_dtype(const Scheme& scheme) {
  for (const ggml::Type& type : ggml::types()) {
    if (type.name == scheme.family) return type.dtype;
  }
  return std::nullopt;
}

}  // namespace mxq
