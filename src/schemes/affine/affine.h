// The affine family: W = (code - zero) * scale, a scale and a zero for each group (docs/reference/checkpoint.md).
#pragma once

#include "schemes/family.h"

namespace mxq {

namespace affine {

/// Names: b4g64. Parts:
///   codes        dense LSB-first bit streams: code i of a stream occupies bits [b*i, b*i + b).
///                axis 1: one stream a row, of K codes, padded to a whole byte. axis 0: one stream, row-major.
///                Zero bytes pad the whole to a multiple of 4.
///   scale_steps  q8: fp16 per kGroupsPerStep consecutive groups: s = step * u8
///   zero_steps   q8: likewise: z = (2^b - 1)/2 - step * i8
///   scales       q8: u8; others: the scale s itself
///   zeros        q8: i8; f16, f32: the zero z itself
///   biases       f16-bias, bf16-bias, in place of zeros: the bias b itself, W = code * s + b (axis 1 only)
class AffineFamily : public SchemeFamily {
 public:
  std::string_view name() const override { return "affine"; }
  std::string scheme_name(const Scheme& scheme) const override;
  const std::vector<Scheme>& schemes() const override { return all_schemes(); }
  const std::vector<Scheme>& usual_schemes() const override { return wide_schemes(); }
  void check(const Scheme& scheme, int axis, Metadata metadata, const char* operation) const override;
  std::vector<PartSpec> parts(const QuantizedLayout& layout) const override;
  void quantize(MatrixView matrix, const QuantizeOptions& options, QuantizedMatrix& out) const override;
  void dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const override;
  /// All widths of a group size at once.
  std::vector<double> measure(MatrixView matrix, std::span<const Scheme> schemes, const QuantizeOptions& options,
                              SharedNormalization& normalization) const override;
  bool takes_feedback() const override { return true; }
  bool takes_fit(Fit) const override { return true; }
  std::unique_ptr<feedback::GroupCoding> group_coding(MatrixView matrix, const FeedbackFactor& factor,
                                                      QuantizedMatrix& out) const override;
  bool holds_as_they_are(MatrixView sample, const Scheme& scheme, const QuantizeOptions& options) const override;
};

}  // namespace affine

const SchemeFamily& affine_family();

}  // namespace mxq
