// SIMD twins of feedback_tile_ref.cc, compiled once per instruction set; the best is chosen at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/feedback_tile.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/feedback_tile.h"
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

/// Columns that are summed side by side, so that no sum waits for itself.
constexpr int kColumns = 8;

/// tile[j] += sum over i < n of errors[i] * coefficients[j * stride + i] for kColumns columns, in lanes l and on.
HWY_INLINE void add_to_columns(const float* HWY_RESTRICT errors, int n, const float* HWY_RESTRICT coefficients,
                               int64_t stride, float* HWY_RESTRICT tile, size_t l) {
  V w0 = hn::Load(d, tile + l), w1 = hn::Load(d, tile + kTileLanes + l);
  V w2 = hn::Load(d, tile + 2 * kTileLanes + l), w3 = hn::Load(d, tile + 3 * kTileLanes + l);
  V w4 = hn::Load(d, tile + 4 * kTileLanes + l), w5 = hn::Load(d, tile + 5 * kTileLanes + l);
  V w6 = hn::Load(d, tile + 6 * kTileLanes + l), w7 = hn::Load(d, tile + 7 * kTileLanes + l);
  for (int i = 0; i < n; ++i) {
    const V e = hn::Load(d, errors + i * kTileLanes + l);
    const float* HWY_RESTRICT c = coefficients + i;
    w0 = hn::Add(w0, hn::Mul(e, hn::Set(d, c[0])));
    w1 = hn::Add(w1, hn::Mul(e, hn::Set(d, c[stride])));
    w2 = hn::Add(w2, hn::Mul(e, hn::Set(d, c[2 * stride])));
    w3 = hn::Add(w3, hn::Mul(e, hn::Set(d, c[3 * stride])));
    w4 = hn::Add(w4, hn::Mul(e, hn::Set(d, c[4 * stride])));
    w5 = hn::Add(w5, hn::Mul(e, hn::Set(d, c[5 * stride])));
    w6 = hn::Add(w6, hn::Mul(e, hn::Set(d, c[6 * stride])));
    w7 = hn::Add(w7, hn::Mul(e, hn::Set(d, c[7 * stride])));
  }
  hn::Store(w0, d, tile + l);
  hn::Store(w1, d, tile + kTileLanes + l);
  hn::Store(w2, d, tile + 2 * kTileLanes + l);
  hn::Store(w3, d, tile + 3 * kTileLanes + l);
  hn::Store(w4, d, tile + 4 * kTileLanes + l);
  hn::Store(w5, d, tile + 5 * kTileLanes + l);
  hn::Store(w6, d, tile + 6 * kTileLanes + l);
  hn::Store(w7, d, tile + 7 * kTileLanes + l);
}

HWY_INLINE V add_to_column(const float* HWY_RESTRICT errors, int begin, int end, const float* HWY_RESTRICT coefficients,
                           V w, size_t l) {
  for (int i = begin; i < end; ++i) {
    w = hn::Add(w, hn::Mul(hn::Load(d, errors + i * kTileLanes + l), hn::Set(d, coefficients[i])));
  }
  return w;
}

void TileAddFeedback(const float* errors, int n, const float* coefficients, int64_t stride, int columns, float* tile) {
  for (size_t l = 0; l < kTileLanes; l += hn::Lanes(d)) {
    int j = 0;
    for (; j + kColumns <= columns; j += kColumns) {
      add_to_columns(errors, n, coefficients + j * stride, stride, tile + j * kTileLanes, l);
    }
    for (; j < columns; ++j) {
      float* w = tile + j * kTileLanes + l;
      hn::Store(add_to_column(errors, 0, n, coefficients + j * stride, hn::Load(d, w), l), d, w);
    }
  }
}

/// store(w, column) codes the weights w and gives what a reader makes of the codes.
template <typename Store>
HWY_INLINE void FeedBack(float* tile, const float* weights, int n, const float* coefficients, int64_t stride,
                         float* errors, size_t l, const Store& store) {
  for (int begin = 0; begin < n; begin += kColumns) {
    // The errors of the columns before these, of which none is open any more; then these among themselves.
    const int end = HWY_MIN(begin + kColumns, n), done = end - begin == kColumns ? begin : 0;
    if (done > 0) add_to_columns(errors, done, coefficients + begin * stride, stride, tile + begin * kTileLanes, l);
    for (int j = begin; j < end; ++j) {
      float* HWY_RESTRICT at = tile + j * kTileLanes + l;
      const V w = add_to_column(errors, done, j, coefficients + j * stride, hn::Load(d, at), l);
      hn::Store(w, d, at);
      hn::Store(hn::Sub(hn::Load(d, weights + j * kTileLanes + l), store(w, j)), d, errors + j * kTileLanes + l);
    }
  }
}

/// wanted(tile's value, column, lane) is what the code is to be next to.
template <typename Wanted>
HWY_INLINE void FeedBackCodes(float* tile, const float* weights, int n, int max_code, const float* coefficients,
                              int64_t stride, const FeedbackGrid& grid, uint8_t* codes, float* errors,
                              const Wanted& wanted) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint8_t, D> du;
  const V top = hn::Set(d, static_cast<float>(max_code)), magic = hn::Set(d, 12582912.0f);
  for (size_t l = 0; l < kTileLanes; l += hn::Lanes(d)) {
    const V scale = hn::LoadU(d, grid.scale + l), inverse_scale = hn::LoadU(d, grid.inverse_scale + l);
    const V zero = hn::LoadU(d, grid.zero + l);
    FeedBack(tile, weights, n, coefficients, stride, errors, l, [&](V w, int j) HWY_ATTR {
      const V t = hn::Add(hn::Mul(wanted(w, j, l), inverse_scale), zero);
      const V q = hn::Sub(hn::Add(hn::Min(hn::Max(t, hn::Zero(d)), top), magic), magic);
      hn::StoreU(hn::DemoteTo(du, hn::ConvertTo(di, q)), du, codes + j * kTileLanes + l);
      return hn::Mul(hn::Sub(q, zero), scale);
    });
  }
}

template <typename Wanted>
HWY_INLINE void FeedBackLevels(float* tile, const float* weights, int n, const TileLevels& levels,
                               const float* coefficients, int64_t stride, const FeedbackGrid& grid, uint8_t* codes,
                               float* errors, const Wanted& wanted) {
  const hn::Rebind<uint8_t, D> du;
  with_table_size(levels.count, [&](auto size) HWY_ATTR {
    const LevelTable<decltype(size)::value> table(levels);
    for (size_t l = 0; l < kTileLanes; l += hn::Lanes(d)) {
      const V scale = hn::LoadU(d, grid.scale + l), inverse_scale = hn::LoadU(d, grid.inverse_scale + l);
      FeedBack(tile, weights, n, coefficients, stride, errors, l, [&](V w, int j) HWY_ATTR {
        const V t = hn::Mul(wanted(w, j, l), inverse_scale);
        hn::StoreU(hn::DemoteTo(du, table.code(t)), du, codes + j * kTileLanes + l);
        return hn::Mul(table.nearest(t), scale);
      });
    }
  });
}

void TileFeedback(float* tile, const float* weights, int n, int max_code, const float* coefficients, int64_t stride,
                  const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  FeedBackCodes(tile, weights, n, max_code, coefficients, stride, grid, codes, errors,
                [](V w, int, size_t) HWY_ATTR { return w; });
}

void TileLevelFeedback(float* tile, const float* weights, int n, const TileLevels& levels, const float* coefficients,
                       int64_t stride, const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  FeedBackLevels(tile, weights, n, levels, coefficients, stride, grid, codes, errors,
                 [](V w, int, size_t) HWY_ATTR { return w; });
}

/// What a column's value would be were there no grid.
HWY_INLINE V least(V gradient, const float* values, const float* inverse_diagonal, int j, size_t l) {
  return hn::Add(hn::Load(d, values + j * kTileLanes + l), hn::Mul(gradient, hn::Set(d, inverse_diagonal[j])));
}

void TileDescend(float* tile, const float* values, int n, int max_code, const float* moments, int64_t stride,
                 const float* inverse_diagonal, const FeedbackGrid& grid, uint8_t* codes, float* changes) {
  FeedBackCodes(tile, values, n, max_code, moments, stride, grid, codes, changes,
                [&](V gradient, int j, size_t l) HWY_ATTR { return least(gradient, values, inverse_diagonal, j, l); });
}

void TileLevelDescend(float* tile, const float* values, int n, const TileLevels& levels, const float* moments,
                      int64_t stride, const float* inverse_diagonal, const FeedbackGrid& grid, uint8_t* codes,
                      float* changes) {
  FeedBackLevels(tile, values, n, levels, moments, stride, grid, codes, changes,
                 [&](V gradient, int j, size_t l) HWY_ATTR { return least(gradient, values, inverse_diagonal, j, l); });
}

void TileUpdate(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, float* errors) {
  for (size_t l = 0; l < kTileLanes; l += hn::Lanes(d)) {
    FeedBack(tile, weights, n, coefficients, stride, errors, l, [](V w, int) HWY_ATTR { return w; });
  }
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(TileFeedback);
HWY_EXPORT(TileLevelFeedback);
HWY_EXPORT(TileDescend);
HWY_EXPORT(TileLevelDescend);
HWY_EXPORT(TileUpdate);
HWY_EXPORT(TileAddFeedback);

void tile_feedback(float* tile, const float* weights, int n, int max_code, const float* coefficients, int64_t stride,
                   const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  HWY_DYNAMIC_DISPATCH(TileFeedback)
  (tile, weights, n, max_code, coefficients, stride, grid, codes, errors);
}
void tile_level_feedback(float* tile, const float* weights, int n, const TileLevels& levels, const float* coefficients,
                         int64_t stride, const FeedbackGrid& grid, uint8_t* codes, float* errors) {
  HWY_DYNAMIC_DISPATCH(TileLevelFeedback)
  (tile, weights, n, levels, coefficients, stride, grid, codes, errors);
}
void tile_descend(float* tile, const float* values, int n, int max_code, const float* moments, int64_t stride,
                  const float* inverse_diagonal, const FeedbackGrid& grid, uint8_t* codes, float* changes) {
  HWY_DYNAMIC_DISPATCH(TileDescend)
  (tile, values, n, max_code, moments, stride, inverse_diagonal, grid, codes, changes);
}
void tile_level_descend(float* tile, const float* values, int n, const TileLevels& levels, const float* moments,
                        int64_t stride, const float* inverse_diagonal, const FeedbackGrid& grid, uint8_t* codes,
                        float* changes) {
  HWY_DYNAMIC_DISPATCH(TileLevelDescend)
  (tile, values, n, levels, moments, stride, inverse_diagonal, grid, codes, changes);
}
void tile_update(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, float* errors) {
  HWY_DYNAMIC_DISPATCH(TileUpdate)(tile, weights, n, coefficients, stride, errors);
}
void tile_add_feedback(const float* errors, int n, const float* coefficients, int64_t stride, int columns,
                       float* tile) {
  HWY_DYNAMIC_DISPATCH(TileAddFeedback)(errors, n, coefficients, stride, columns, tile);
}

}  // namespace mxq
#endif  // HWY_ONCE
