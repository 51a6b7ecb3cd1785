#include "schemes/affine/affine.h"

#include <fmt/format.h>

#include <bit>

#include "base/bitpack.h"
#include "mxq/error.h"
#include "schemes/affine/feedback_coding.h"
#include "schemes/affine/fit_matrix.h"
#include "schemes/affine/metadata.h"
#include "schemes/affine/symmetric.h"
#include "schemes/part_bytes.h"

namespace mxq {

const SchemeFamily& affine_family() {
  static const affine::AffineFamily family;
  return family;
}

namespace affine {

namespace {

/// The squared error on the grid may be this part of step^2 / 12, which weights that lie anywhere have.
constexpr double kOnGrid = 0.25;

}  // namespace

std::string AffineFamily::scheme_name(const Scheme& scheme) const {
  return fmt::format("b{}g{}", scheme.bits, scheme.group);
}

void AffineFamily::check(const Scheme& scheme, int axis, Metadata metadata, const char* operation) const {
  const int g = scheme.group;
  if (scheme.bits < 2 || scheme.bits > 8 || g < 16 || g > 256 || !std::has_single_bit(static_cast<unsigned>(g))) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("{} bits in groups of {}", scheme.bits, g),
                "2 to 8 bits, groups of 16, 32, 64, 128 or 256");
  }
  if (axis != 0 && axis != 1) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("axis {}", axis), "0 or 1");
  }
  if (axis == 0 && has_bias(metadata)) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("axis 0 with metadata {}", metadata_name(metadata)),
                "axis 1, or metadata q8, f16 or f32");
  }
}

std::vector<PartSpec> AffineFamily::parts(const QuantizedLayout& layout) const {
  const int64_t bytes = layout.axis == 1 ? layout.rows * layout.code_row_bytes()
                                         : packed_bytes(layout.rows * layout.cols, layout.scheme.bits);
  const int64_t groups = layout.groups(), padded = padded_to_words(bytes);
  if (layout.metadata == Metadata::q8) {
    const int64_t steps = (groups + kGroupsPerStep - 1) / kGroupsPerStep;
    return {{"codes", DType::u8, padded},
            {"scale_steps", DType::f16, steps},
            {"zero_steps", DType::f16, steps},
            {"scales", DType::u8, groups},
            {"zeros", DType::i8, groups}};
  }
  if (has_bias(layout.metadata)) {
    const DType half = layout.metadata == Metadata::bf16_bias ? DType::bf16 : DType::f16;
    return {{"codes", DType::u8, padded}, {"scales", half, groups}, {"biases", half, groups}};
  }
  const DType dtype = layout.metadata == Metadata::f16 ? DType::f16 : DType::f32;
  return {{"codes", DType::u8, padded}, {"scales", dtype, groups}, {"zeros", dtype, groups}};
}

std::unique_ptr<feedback::GroupCoding> AffineFamily::group_coding(MatrixView matrix, const FeedbackFactor& factor,
                                                                  QuantizedMatrix& out) const {
  return affine_coding(matrix, factor, out);
}

bool AffineFamily::holds_as_they_are(MatrixView sample, const Scheme& scheme, const QuantizeOptions& options) const {
  QuantizeOptions plain = options;
  plain.fit = Fit::mse;
  const Grouping grouping(sample.rows, sample.cols, scheme.group, plain.axis);
  struct Sums {
    double error = 0, rounding = 0;
  };
  std::vector<Sums> blocks(static_cast<size_t>(grouping.blocks()));
  fit_matrix(sample, grouping, {&scheme.bits, 1}, plain, [&](const Block& block, size_t, const FittedBlock& fitted) {
    StoredBlock stored;
    store_block(block, scheme.bits, plain, fitted, stored);
    blocks[static_cast<size_t>(block.index)] = {squared_error(block, scheme.bits, stored),
                                                squared_rounding(block, stored)};
  });
  Sums all;
  for (const Sums& block : blocks) {
    all.error += block.error;
    all.rounding += block.rounding;
  }
  return all.error < kOnGrid * all.rounding;
}

}  // namespace affine
}  // namespace mxq
