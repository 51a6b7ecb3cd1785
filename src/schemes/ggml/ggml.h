// The types of GGUF's blocks as families of schemes, one scheme each: q4_k, iq4_nl, ... What llama.cpp reads.
#pragma once

#include <optional>
#include <vector>

#include "schemes/family.h"

namespace mxq {

namespace ggml {

struct Type;

/// Axis 1; rows are whole blocks. Metadata and normalization are the type's own: options have no say. The one part:
///   blocks   U8 [rows, cols / block, bytes of a block]: GGUF's bytes (format/ggml_pack.h)
/// Scales and codes are found by least squares, whatever the fit (block_fitter.h).
class GgmlFamily : public SchemeFamily {
 public:
  explicit GgmlFamily(const Type& type);

  std::string_view name() const override;
  std::string scheme_name(const Scheme& scheme) const override;
  const std::vector<Scheme>& schemes() const override { return schemes_; }
  void check(const Scheme& scheme, int axis, Metadata metadata, const char* operation) const override;
  int64_t block_columns() const override;
  std::vector<PartSpec> parts(const QuantizedLayout& layout) const override;
  void quantize(MatrixView matrix, const QuantizeOptions& options, QuantizedMatrix& out) const override;
  void dequantize_rows(const QuantizedView& matrix, int64_t first_row, int64_t rows, float* out) const override;
  bool takes_feedback() const override { return true; }
  std::unique_ptr<feedback::GroupCoding> group_coding(MatrixView matrix, const FeedbackFactor& factor,
                                                      QuantizedMatrix& out) const override;

 private:
  const Type& type_;
  std::vector<Scheme> schemes_;
};

}  // namespace ggml

/// All of them, in ascending order of bytes.
const std::vector<const SchemeFamily*>& ggml_families();

/// The dtype that a file has of a scheme of these families; nullopt for all others.
std::optional<DType> ggml_dtype(const Scheme& scheme);

}  // namespace mxq
