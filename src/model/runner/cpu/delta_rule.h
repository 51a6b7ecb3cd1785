// The gated delta rule along a text, forwards and backwards.
#pragma once

#include <cstdint>
#include <vector>

namespace mxq {

/// One value head of one sequence. Pointers are to the first token's; from token to token q, k and v are `row` floats
/// apart, what is put out out_row, and decay and rate rate_row.
struct DeltaHead {
  int64_t n = 0, keys = 0, values = 0;
  int64_t row = 0, out_row = 0, rate_row = 0;
  const float *q = nullptr, *k = nullptr, *v = nullptr;
  const float *decay = nullptr, *rate = nullptr;

  /// A token after the other: what each puts out. `state` [keys, values] is that
  /// before the first token, and becomes that behind the last.
  void run(float* state, float* out) const;
};

/// Where gradients go, as far apart as in DeltaHead; those of q and k, which other value heads may share, are dense.
struct DeltaHeadGradient {
  std::vector<float> q, k;  // [n, keys]
  float* v = nullptr;
  float *decay = nullptr, *rate = nullptr;
};

/// Of run() from an empty state. `outer`: the gradient with respect to what it put out.
void delta_rule_back(const DeltaHead& head, const float* outer, DeltaHeadGradient& gradient);

}  // namespace mxq
