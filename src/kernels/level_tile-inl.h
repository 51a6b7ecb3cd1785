// The level nearest to a value, for kernels of one instruction set (included anew for each).
#if defined(MXQ_LEVEL_TILE_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef MXQ_LEVEL_TILE_INL_H
#undef MXQ_LEVEL_TILE_INL_H
#else
#define MXQ_LEVEL_TILE_INL_H
#endif

#include <hwy/highway.h>

#include <type_traits>

#include "kernels/level_tile.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

/// A comparison and a choice for each midpoint: what every instruction set has, and in registers.
template <int kLevels>
class LevelTable {
  using D = hwy::HWY_NAMESPACE::CappedTag<float, kTileLanes>;
  using V = hwy::HWY_NAMESPACE::Vec<D>;
  using DI = hwy::HWY_NAMESPACE::RebindToSigned<D>;

 public:
  explicit LevelTable(const TileLevels& levels) : levels_(levels) {}

  HWY_INLINE V nearest(V t) const {
    namespace hn = hwy::HWY_NAMESPACE;
    const D d;
    V level = hn::Set(d, levels_.level[0]);
    for (int m = 0; m + 1 < kLevels; ++m) {
      const auto above = hn::Gt(t, hn::Set(d, levels_.midpoint[m]));
      level = hn::IfThenElse(above, hn::Set(d, levels_.level[m + 1]), level);
    }
    return level;
  }

  HWY_INLINE hwy::HWY_NAMESPACE::Vec<DI> code(V t) const {
    namespace hn = hwy::HWY_NAMESPACE;
    const D d;
    const DI di;
    auto code = hn::Zero(di);
    for (int m = 0; m + 1 < kLevels; ++m) {
      const auto above = hn::RebindMask(di, hn::Gt(t, hn::Set(d, levels_.midpoint[m])));
      code = hn::IfThenElse(above, hn::Set(di, m + 1), code);
    }
    return code;
  }

 private:
  const TileLevels& levels_;
};

/// body(std::integral_constant<int, count>).
template <typename Body>
HWY_INLINE void with_table_size(int count, const Body& body) {
  if (count <= 4) return body(std::integral_constant<int, 4>());
  if (count <= 8) return body(std::integral_constant<int, 8>());
  body(std::integral_constant<int, 16>());
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
