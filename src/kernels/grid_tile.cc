// SIMD twins of grid_tile_ref.cc, compiled once per instruction set; the best is chosen at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/grid_tile.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/grid_tile.h"
// clang-format on

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kTileLanes>;
using V = hn::Vec<D>;
constexpr D d;

HWY_INLINE V Code(V w, V inverse, V zero, V max_code) {
  const V magic = hn::Set(d, 12582912.0f);
  const V x = hn::Add(hn::Mul(w, inverse), zero);
  return hn::Sub(hn::Add(hn::Min(hn::Max(x, hn::Zero(d)), max_code), magic), magic);
}

template <bool kWeighted>
HWY_INLINE V Weigh(const float* weights, int i, V x) {
  if constexpr (kWeighted) {
    return hn::Mul(hn::Set(d, weights[i]), x);
  } else {
    return x;
  }
}

template <bool kWeighted>
HWY_INLINE void GridError(const float* HWY_RESTRICT tile, const float* HWY_RESTRICT weights, int n, int max_code,
                          const float* inverse_scale, const float* scale, const float* zero, float* error) {
  const V most = hn::Set(d, static_cast<float>(max_code));
  for (size_t l = 0; l < kTileLanes; l += hn::Lanes(d)) {
    const V inverse = hn::LoadU(d, inverse_scale + l), s = hn::LoadU(d, scale + l), z = hn::LoadU(d, zero + l);
    V sum = hn::Zero(d);
    for (int i = 0; i < n; ++i) {
      const V w = hn::Load(d, tile + i * kTileLanes + l);
      const V e = hn::Sub(w, hn::Mul(hn::Sub(Code(w, inverse, z, most), z), s));
      sum = hn::Add(sum, hn::Mul(Weigh<kWeighted>(weights, i, e), e));
    }
    hn::StoreU(sum, d, error + l);
  }
}

template <bool kWeighted>
HWY_INLINE void GridSums(const float* HWY_RESTRICT tile, const float* HWY_RESTRICT weights, int n, int max_code,
                         const float* inverse_scale, const float* zero, const float* shift, float* of_codes,
                         float* of_squares, float* with_weights) {
  const V most = hn::Set(d, static_cast<float>(max_code));
  for (size_t l = 0; l < kTileLanes; l += hn::Lanes(d)) {
    const V inverse = hn::LoadU(d, inverse_scale + l), z = hn::LoadU(d, zero + l), less = hn::LoadU(d, shift + l);
    V codes = hn::Zero(d), squares = hn::Zero(d), with = hn::Zero(d);
    for (int i = 0; i < n; ++i) {
      const V w = hn::Load(d, tile + i * kTileLanes + l);
      const V c = hn::Sub(Code(w, inverse, z, most), less);
      const V hc = Weigh<kWeighted>(weights, i, c);
      codes = hn::Add(codes, hc);
      squares = hn::Add(squares, hn::Mul(hc, c));
      with = hn::Add(with, hn::Mul(hc, w));
    }
    hn::StoreU(codes, d, of_codes + l);
    hn::StoreU(squares, d, of_squares + l);
    hn::StoreU(with, d, with_weights + l);
  }
}

void TileGridError(const float* tile, const float* weights, int n, int max_code, const float* inverse_scale,
                   const float* scale, const float* zero, float* error) {
  if (weights == nullptr) return GridError<false>(tile, weights, n, max_code, inverse_scale, scale, zero, error);
  GridError<true>(tile, weights, n, max_code, inverse_scale, scale, zero, error);
}

void TileGridSums(const float* tile, const float* weights, int n, int max_code, const float* inverse_scale,
                  const float* zero, const float* shift, float* of_codes, float* of_squares, float* with_weights) {
  if (weights == nullptr) {
    return GridSums<false>(tile, weights, n, max_code, inverse_scale, zero, shift, of_codes, of_squares, with_weights);
  }
  GridSums<true>(tile, weights, n, max_code, inverse_scale, zero, shift, of_codes, of_squares, with_weights);
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(TileGridError);
HWY_EXPORT(TileGridSums);

void tile_grid_error(const float* tile, const float* weights, int n, int max_code, const float* inverse_scale,
                     const float* scale, const float* zero, float* error) {
  HWY_DYNAMIC_DISPATCH(TileGridError)(tile, weights, n, max_code, inverse_scale, scale, zero, error);
}

void tile_grid_sums(const float* tile, const float* weights, int n, int max_code, const float* inverse_scale,
                    const float* zero, const float* shift, float* of_codes, float* of_squares, float* with_weights) {
  HWY_DYNAMIC_DISPATCH(TileGridSums)
  (tile, weights, n, max_code, inverse_scale, zero, shift, of_codes, of_squares, with_weights);
}

}  // namespace mxq
#endif  // HWY_ONCE
