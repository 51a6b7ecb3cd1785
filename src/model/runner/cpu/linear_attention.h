// Linear attention by the gated delta rule (Gated DeltaNet): what lies between its projections.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/runner/cpu/fused_rows.h"

namespace mxq {

/// What a layer of linear attention makes of its tokens: a row a token. Its projections fill the first four.
struct LinearRows {
  std::vector<float> mixed;      // queries, keys and values: [n, channels]
  std::vector<float> z;          // [n, values]: gates of what the heads put out
  std::vector<float> b, a;       // [n, value_heads]
  std::vector<float> convolved;  // mixed behind the convolution, before its activation
  std::vector<float> active;     // behind that; queries and keys of length 1, and queries scaled
  std::vector<float> rate, decay;
  std::vector<float> core;   // what the delta rule puts out: [n, values]
  std::vector<float> heads;  // normed and gated: what the last projection multiplies

  void resize(const LinearAttention& shape, int64_t n);
};

/// Queries, keys, values and z of rows; b and a. T: float, of LinearRows, or const float, of const ones.
template <typename T, typename Rows>
std::array<FusedPart<T>, 4> qkvz_parts(const LinearAttention& shape, Rows& rows) {
  const int64_t keys = shape.keys(), row = shape.channels(), values = shape.values();
  T* const mixed = rows.mixed.data();
  return {{{mixed, row, keys},
           {mixed + keys, row, keys},
           {mixed + 2 * keys, row, values},
           {rows.z.data(), values, values}}};
}
template <typename T, typename Rows>
std::array<FusedPart<T>, 2> ba_parts(const LinearAttention& shape, Rows& rows) {
  const int64_t heads = shape.value_heads;
  return {{{rows.b.data(), heads, heads}, {rows.a.data(), heads, heads}}};
}

/// What a text leaves behind: of the convolution the last kernel - 1 rows of mixed, and each value head's state.
struct LinearState {
  std::vector<float> tail, states;  // [kernel - 1, channels]; [value_heads, key_dim, value_dim]

  explicit LinearState(const LinearAttention& shape);
};

/// Tokens of one sequence.
struct LinearPiece {
  int64_t n = 0;
  LinearState* state = nullptr;  // of those before them; null: none are
};

/// Between the projections, in fp32.
class LinearLayer {
 public:
  /// `convolution` [channels, kernel]; `a_log` and `dt_bias` [value_heads]; `norm` [value_dim].
  LinearLayer(const LinearAttention& shape, float eps, const std::vector<float>& convolution, std::vector<float> a_log,
              std::vector<float> dt_bias, std::vector<float> norm);

  /// The rest of `rows` by the first four. Whether all heads' squares are finite.
  bool run(std::span<const LinearPiece> pieces, LinearRows& rows) const;
  /// `outer` is the gradient with respect to heads, of pieces without states; those with respect to mixed, z, b and a
  /// are put in their places of `gradient`.
  void run_back(std::span<const LinearPiece> pieces, const LinearRows& rows, const std::vector<float>& outer,
                LinearRows& gradient) const;

 private:
  void convolve(std::span<const LinearPiece> pieces, LinearRows& rows) const;
  void convolve_back(std::span<const LinearPiece> pieces, const LinearRows& rows, LinearRows& gradient) const;

  LinearAttention shape_;
  float eps_;
  std::vector<float> taps_;  // [kernel, channels]
  std::vector<float> a_log_, dt_bias_, norm_;
};

}  // namespace mxq
