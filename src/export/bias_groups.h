// What targets have in common whose groups are affine with a scale and a bias in 16 bits.
#pragma once

#include "export/safetensors_target.h"
#include "model/model_source.h"
#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

/// Of scales, biases and all that is not quantized: runtimes compute in it.
DType float_dtype(Metadata metadata);

class BiasGroupsTarget : public SafetensorsTarget {
 public:
  std::vector<Scheme> usual_schemes() const override { return wide_schemes(); }
  std::optional<Normalize> usual_normalize() const override { return Normalize::none; }
  /// The dtype to compute in: F16 where most of the model's own matrices are, and it is no Gemma (docs/decisions/0021);
  /// f16_bias for null.
  std::optional<Metadata> usual_metadata(const ModelSource* model) const override;
  /// Affine schemes of wide_schemes(), along rows, in place.
  void check(const QuantizeOptions& options, std::span<const Scheme> schemes) const override;
  /// Whole groups.
  bool holds(const Scheme& scheme, const QuantizeOptions& options, int64_t rows, int64_t cols) const override;

 protected:
  QuantizedLayout widest_layout(int64_t rows, int64_t cols) const override;
  DType plain_dtype(const QuantizeOptions& options) const override { return float_dtype(options.metadata); }
  std::string holds_what() const override { return "groups that divide its columns"; }
};

}  // namespace mxq
