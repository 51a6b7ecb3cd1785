// SIMD twins of level_tile_ref.cc, compiled once per instruction set; the best is chosen at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/level_tile.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/level_tile.h"
#include "kernels/level_tile-inl.h"
// clang-format on

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kTileLanes>;
using V = hn::Vec<D>;
constexpr D d;

template <int kLevels>
void Sums(const float* HWY_RESTRICT tile, const float* HWY_RESTRICT weights, int n, const TileLevels& levels,
          const float* inverse_scale, float* with_levels, float* of_levels) {
  const LevelTable<kLevels> table(levels);
  for (size_t l = 0; l < kTileLanes; l += hn::Lanes(d)) {
    const V inverse = hn::LoadU(d, inverse_scale + l);
    V with = hn::Zero(d), of = hn::Zero(d);
    for (int i = 0; i < n; ++i) {
      const V w = hn::Load(d, tile + i * kTileLanes + l);
      const V level = table.nearest(hn::Mul(w, inverse));
      const V weighted = weights != nullptr ? hn::Mul(level, hn::Set(d, weights[i])) : level;
      with = hn::Add(with, hn::Mul(weighted, w));
      of = hn::Add(of, hn::Mul(weighted, level));
    }
    hn::StoreU(with, d, with_levels + l);
    hn::StoreU(of, d, of_levels + l);
  }
}

template <int kLevels>
void Codes(const float* HWY_RESTRICT tile, int n, const TileLevels& levels, const float* inverse_scale,
           uint8_t* HWY_RESTRICT codes) {
  const hn::Rebind<uint8_t, D> du;
  const LevelTable<kLevels> table(levels);
  for (size_t l = 0; l < kTileLanes; l += hn::Lanes(d)) {
    const V inverse = hn::LoadU(d, inverse_scale + l);
    for (int i = 0; i < n; ++i) {
      const V t = hn::Mul(hn::Load(d, tile + i * kTileLanes + l), inverse);
      hn::StoreU(hn::DemoteTo(du, table.code(t)), du, codes + i * kTileLanes + l);
    }
  }
}

void TileLevelSums(const float* tile, const float* weights, int n, const TileLevels& levels, const float* inverse_scale,
                   float* with_levels, float* of_levels) {
  with_table_size(levels.count, [&](auto size) HWY_ATTR {
    Sums<decltype(size)::value>(tile, weights, n, levels, inverse_scale, with_levels, of_levels);
  });
}

void TileLevelCodes(const float* tile, int n, const TileLevels& levels, const float* inverse_scale, uint8_t* codes) {
  with_table_size(levels.count,
                  [&](auto size) HWY_ATTR { Codes<decltype(size)::value>(tile, n, levels, inverse_scale, codes); });
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(TileLevelSums);
HWY_EXPORT(TileLevelCodes);

void tile_level_sums(const float* tile, const float* weights, int n, const TileLevels& levels,
                     const float* inverse_scale, float* with_levels, float* of_levels) {
  HWY_DYNAMIC_DISPATCH(TileLevelSums)(tile, weights, n, levels, inverse_scale, with_levels, of_levels);
}
void tile_level_codes(const float* tile, int n, const TileLevels& levels, const float* inverse_scale, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(TileLevelCodes)(tile, n, levels, inverse_scale, codes);
}

}  // namespace mxq
#endif  // HWY_ONCE
