// The types of GGUF's blocks that matrices can be quantized to.
#pragma once

#include <span>
#include <string_view>

#include "mxq/tensor.h"

namespace mxq::ggml {

/// How a type codes its weights (format/ggml_pack.h has the formulas).
struct Type {
  enum class Kind {
    symmetric,  // scale * (code - zero)
    affine,     // scale * code + offset
    levels,     // scale * level[code]
  };

  std::string_view name;  // "q4_k": a literal, the family's and the scheme's
  DType dtype = DType::q8_0;
  int bits = 0;   // of a code
  int group = 0;  // weights that share a scale
  int block = 0;  // weights of a block
  Kind kind = Kind::symmetric;
  int zero = 0;  // of symmetric ones
  /// Of blocks of several groups: scales are the block's d times -scale_limit .. scale_limit - 1 (signed_scales) or
  /// times 0 .. scale_limit; offsets the block's m times 0 .. -min_limit. 0: one group, whose scale (and offset) is
  /// fp16.
  int scale_limit = 0, min_limit = 0;
  bool signed_scales = false;

  int groups() const { return block / group; }
  int max_code() const { return (1 << bits) - 1; }
};

/// In ascending order of bytes.
std::span<const Type> types();
/// Of types() by name; it must be there.
const Type& type_named(std::string_view name);

}  // namespace mxq::ggml
