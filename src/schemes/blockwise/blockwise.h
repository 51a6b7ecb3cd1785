// The families of bitsandbytes: 4-bit codes of a fixed table, times the largest magnitude of a block of weights.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "schemes/family.h"

namespace mxq {

namespace blockwise {

/// The values of the 16 codes.
using CodeTable = std::array<float, 16>;

/// NF4 and FP4 as bitsandbytes 0.50 makes them on a CPU, bit for bit (Dettmers et al., "QLoRA", arXiv 2305.14314).
/// Blocks are `group` consecutive weights of the row-major matrix, across rows; the last may be short. A block's
/// weights are multiplied by 1 / absmax, and take the code whose value is nearest, the lower one of two. Metadata::q8
/// is double quantization: absmax - offset by bitsandbytes's dynamic 8-bit map in blocks of 256; Metadata::f32 keeps
/// absmax as it is. The fit makes no difference. Parts, with n weights in b blocks:
///   offset         q8: F32 [1], the mean of absmax
///   nested_absmax  q8: F32 [ceil(b / 256)]
///   absmax         q8: U8 [b]; f32: F32 [b]
///   codes          U8: two weights a byte, the first in the high nibble; zero bytes pad what lies before column_scales
///   to
///                  a multiple of 4
class BlockwiseFamily : public SchemeFamily {
 public:
  /// `name` and `prefix` ("nf4" of nf4g64) are literals.
  BlockwiseFamily(std::string_view name, std::string_view prefix, const CodeTable& values);

  std::string_view name() const override { return name_; }
  std::string scheme_name(const Scheme& scheme) const override;
  const std::vector<Scheme>& schemes() const override { return schemes_; }
  void check(const Scheme& scheme, int axis, Metadata metadata, const char* operation) const override;
  std::vector<PartSpec> parts(const QuantizedLayout& layout) const override;
  void quantize(MatrixView matrix, const QuantizeOptions& options, QuantizedMatrix& out) const override;
  void dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const override;

 private:
  std::string_view name_, prefix_;
  std::vector<Scheme> schemes_;
  CodeTable values_;                 // by code
  std::array<uint8_t, 16> order_;    // codes by ascending value
  std::array<float, 15> midpoints_;  // of neighbours in that order
};

}  // namespace blockwise

const SchemeFamily& nf_family();
const SchemeFamily& fp_family();

}  // namespace mxq
