// What targets have in common whose groups are affine with a scale and a bias in 16 bits.
#pragma once

#include "model/model_source.h"
#include "mxq/scheme.h"
#include "mxq/tensor.h"

namespace mxq {

/// Of scales, biases and all that is not quantized: runtimes compute in it.
DType float_dtype(Metadata metadata);

/// The dtype to compute in: F16 where most of the model's own matrices are, and it is no Gemma (docs/decisions/0021);
/// f16_bias for null.
Metadata usual_bias_metadata(const ModelSource* model);

/// Whether it is one of wide_schemes(), and what to say where it is not.
bool is_wide(const Scheme& scheme);
inline constexpr const char* kWideSchemes = "b2, b3, b4, b5, b6 or b8 with g32, g64 or g128";

}  // namespace mxq
