// Inner loops of the affine fits, on tiles: 16 groups side by side, one group a SIMD lane.
//
// A tile is float[n][kTileLanes]: element i of group l at [i * 16 + l], 64-byte aligned, so that every operation on a
// group is vertical: no horizontal sums, and a group's state (scale, zero, sums, "converged") is one lane of a vector.
// Per-group arguments are arrays of kTileLanes. Unused lanes repeat a used one (tile_load_* see to it).
//
// Every kernel has a scalar `_ref` twin in namespace mxq::ref with the same operations in the same order; no kernel
// fuses multiply and add, so that all instruction sets and the reference give the same bits.
//
// `weights`, where a kernel takes them, has one positive factor for the squared error of each element of a group, the
// same for all lanes; nullptr: all 1.
//
// Weights are finite, of any magnitude. Where products of them are not, a NaN gets the code 0.
//
// A group of w is written W = (q - z) * s with codes q in 0..max_code, or by its centre c = (m - z) * s, the value of
// the middle m = max_code / 2 of the codes. s = 0 stands for a constant group W = c.
#pragma once

#include <cstdint>

namespace mxq {

inline constexpr int kTileLanes = 16;

/// Scales below this are taken for 0: their inverse times a weight would overflow.
inline constexpr float kSmallestScale = 1e-30f;
/// Groups whose range over the codes' is smaller are taken for constant by the least squares fits.
inline constexpr float kSmallestRange = 1e-20f;

/// Where tile_fit_mse looks. Alternating least squares ends in the local minimum next to its start, so several starts
/// are gone a few rounds each; then as many around the best, and the best of all goes on.
struct LeastSquaresSearch {
  const float* shrinks = nullptr;  // starts: the scale that spans min..max times each of these
  int starts = 0;
  int rounds_per_start = 2;
  const float* nudges = nullptr;  // then: the best start's scale times each of these, its centre kept
  int nudge_count = 0;
  int rounds_per_nudge = 2;
  int rounds = 8;           // at most, for the best, and
  float tolerance = 1e-4f;  // no longer than the error falls by this share a round
};

/// What stored metadata can say: s <= scale_limit and |c / s| <= offset_limit.
struct MetadataRange {
  float scale_limit = 0;
  float offset_limit = 0;
};

/// The fp16 steps of each lane's group: s = scale * u8, c / s = zero * i8. A step of 0 says that all are 0.
struct MetadataSteps {
  float scale[kTileLanes] = {};
  float zero[kTileLanes] = {};
};

/// The neighbours on the grid that tile_snap tries: scales up to scale_reach steps around, then, with the best of them,
/// zeros up to zero_reach times zero_stride steps around. All 0: only rounds.
struct SnapSearch {
  int scale_reach = 0;
  int zero_reach = 0;
  int zero_stride = 1;
};

#define MXQ_AFFINE_TILE_KERNELS                                                                                       \
  /* groups[l] points to n contiguous floats. */                                                                      \
  void tile_load_groups(const float* const* groups, int n, float* tile);                                              \
  /* Element i of group l is first[i * stride + l], l < lanes. */                                                     \
  void tile_load_columns(const float* first, int64_t stride, int lanes, int n, float* tile);                          \
  void tile_min_max(const float* tile, int n, float* min, float* max);                                                \
  /* `rounds` half-quadratic rounds of hqq (Badri & Shaji 2023; p = 0.7, beta = 10) from `zero`, arithmetic as in     \
     hqq 0.2.8. zeros[r][lane] is the zero after round r; errors[r][lane] the sum of |w - W| before its update. */    \
  void tile_hqq_rounds(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero,         \
                       int rounds, float* zeros, float* errors);                                                      \
  /* Least squared error by alternating codes given (s, c) and (s, c) given codes. */                                 \
  void tile_fit_mse(const float* tile, const float* weights, int n, int max_code, const float* min, const float* max, \
                    const LeastSquaresSearch& search, float* scale, float* center);                                   \
  /* The same from (scale, center), each round's result put back into `range`. Groups within it stay as they are. */  \
  void tile_fit_bounded(const float* tile, const float* weights, int n, int max_code, const MetadataRange& range,     \
                        int rounds, float* scale, float* center);                                                     \
  /* Puts (scale, center) on the grid of `steps`: of the neighbours that `search` names, the one of least squared     \
     error. error: sum of (w - W)^2. */                                                                               \
  void tile_snap(const float* tile, const float* weights, int n, int max_code, const MetadataSteps& steps,            \
                 const SnapSearch& search, const float* scale, const float* center, uint8_t* scale_codes,             \
                 int8_t* zero_codes, float* error);                                                                   \
  /* q = round(w * inverse_scale + zero), half to even, within 0..max_code; codes[i * 16 + l]. */                     \
  void tile_codes(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero,              \
                  uint8_t* codes);                                                                                    \
  /* Sum over i of (w - W)^2 in fp64 with those codes and W = (q - zero) * scale in fp32. */                          \
  void tile_squared_error(const float* tile, int n, int max_code, const float* inverse_scale, const float* scale,     \
                          const float* zero, double* error);

MXQ_AFFINE_TILE_KERNELS

namespace ref {
MXQ_AFFINE_TILE_KERNELS
}

}  // namespace mxq
