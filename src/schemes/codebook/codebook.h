// Families whose codes stand for the levels of a table, times a scale for each group: W = level[code] * s.
#pragma once

#include <span>
#include <vector>

#include "schemes/family.h"

namespace mxq {

namespace codebook {

/// Axis 1; 2, 3 or 4 bits in groups of 32, 64 or 128 neighbours of a row, the last of a row perhaps short. The scale
/// and the codes are found by least squares, whatever the fit: codes are those of the nearest levels, the scale the
/// best for them, in turn, from several starts; then codes are chosen anew for the scale as it is stored. Parts, with G
/// groups:
///   levels       F16 [2^bits], ascending, where the family stores its own
///   scale_steps  q8: F16 [ceil(G / kGroupsPerStep)]: s = step * u8
///   scales       q8: U8 [G], after the codes; f16, f32: F16 or F32 [G], before them
///   codes        U8: a dense LSB-first stream a row, padded to a whole byte; zero bytes pad what lies before
///                column_scales to a multiple of 4
class CodebookFamily : public SchemeFamily {
 public:
  std::string_view name() const override { return name_; }
  std::string scheme_name(const Scheme& scheme) const override;
  const std::vector<Scheme>& schemes() const override { return schemes_; }
  void check(const Scheme& scheme, int axis, Metadata metadata, const char* operation) const override;
  std::vector<PartSpec> parts(const QuantizedLayout& layout) const override;
  void quantize(MatrixView matrix, const QuantizeOptions& options, QuantizedMatrix& out) const override;
  void dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const override;
  bool takes_feedback() const override { return true; }
  std::unique_ptr<feedback::GroupCoding> group_coding(MatrixView matrix, const FeedbackFactor& factor,
                                                      QuantizedMatrix& out) const override;

 protected:
  /// Literals: "gaussian", and "gauss" of gauss3g64.
  CodebookFamily(std::string_view name, std::string_view prefix, bool stores_levels);

  /// The 2^bits levels for a matrix, ascending; exact in fp16 where they are stored. Not empty, finite. Levels that are
  /// not stored depend on the scheme alone: reading asks for them with an empty matrix.
  virtual std::vector<float> levels(MatrixView matrix, const Scheme& scheme) const = 0;

 private:
  /// The levels, in `out` too where it stores them.
  std::vector<float> write_levels(MatrixView matrix, QuantizedMatrix& out) const;

  std::string_view name_, prefix_;
  bool stores_levels_;
  std::vector<Scheme> schemes_;
};

}  // namespace codebook

/// gauss3g64: levels that lose least on normally distributed weights (lloyd_max.h). For rotated matrices above all.
const SchemeFamily& gaussian_family();

/// km3g64: levels that lose least on the matrix itself, each weight over its group's root mean square (kmeans_1d.h).
const SchemeFamily& kmeans_family();

}  // namespace mxq
