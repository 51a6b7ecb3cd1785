// How a model is run.
#pragma once

#include <string>
#include <string_view>

namespace mxq {

/// What the operands of matrix products are rounded to; sums and everything else are fp32.
enum class Compute {
  f32,
  bf16,  // faster where the processor has AMX or AVX-512 bf16; needs AVX-512
};

/// The fastest that the processor has: bf16 or f32.
Compute best_compute();
/// "f32" or "bf16", as options spell it.
std::string_view compute_name(Compute compute);
/// "f32", "bf16", or "auto": best_compute(). Throws Error(usage) naming them for anything else.
Compute parse_compute(std::string_view name);

struct RunOptions {
  Compute compute = Compute::f32;
  /// Keep the weights as the model's files hold them (packed codes, blocks, halves) and turn a few million at a time
  /// into what products take: slower, and memory stays near the size of the files.
  bool packed = false;
  /// Where: "cpu".
  std::string device = "cpu";

  friend bool operator==(const RunOptions&, const RunOptions&) = default;
};

}  // namespace mxq
