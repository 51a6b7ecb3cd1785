// SIMD twins of affine_tile_ref.cc, compiled once per instruction set; the best is chosen at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/affine_tile.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/affine_tile.h"
// clang-format on

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// Vectors of at most kTileLanes floats; narrower ones go over the tile's lanes in several steps.
using D = hn::CappedTag<float, kTileLanes>;
using V = hn::Vec<D>;
using M = hn::Mask<D>;
constexpr D d;

HWY_INLINE V splat(float x) {
  return hn::Set(d, x);
}

/// Calls body(l) for the first lane l of each vector of a tile.
template <typename Body>
HWY_INLINE void for_each_vector(Body&& body) {
  for (size_t l = 0; l < kTileLanes; l += hn::Lanes(d)) body(l);
}

HWY_INLINE V round_code(V x, V max_code) {
  const V magic = splat(12582912.0f);
  return hn::Sub(hn::Add(hn::Min(hn::Max(x, hn::Zero(d)), max_code), magic), magic);
}

HWY_INLINE V inverse_or_zero(V scale) {
  return hn::IfThenElseZero(hn::Ge(scale, splat(kSmallestScale)), hn::Div(splat(1.0f), scale));
}

struct PassSums {
  V r, rq, q, qq, rr;
};

/// x, times the element's weight where there are any.
template <bool kWeighted>
HWY_INLINE V weigh(const float* weights, int i, V x) {
  if constexpr (kWeighted) {
    return hn::Mul(splat(weights[i]), x);
  } else {
    return x;
  }
}

template <bool kWeighted>
HWY_INLINE PassSums pass(const float* HWY_RESTRICT tile, const float* HWY_RESTRICT weights, int n, V max_code,
                         V inverse, V zero) {
  PassSums sums{hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (int i = 0; i < n; ++i) {
    const V t = hn::Add(hn::Mul(hn::Load(d, tile + i * kTileLanes), inverse), zero);
    const V q = round_code(t, max_code);
    const V r = hn::Sub(t, q);
    const V hr = weigh<kWeighted>(weights, i, r), hq = weigh<kWeighted>(weights, i, q);
    sums.r = hn::Add(sums.r, hr);
    sums.rq = hn::Add(sums.rq, hn::Mul(hr, q));
    sums.q = hn::Add(sums.q, hq);
    sums.qq = hn::Add(sums.qq, hn::Mul(hq, q));
    sums.rr = hn::Add(sums.rr, hn::Mul(hr, r));
  }
  return sums;
}

struct Regression {
  V alpha, delta;
};

HWY_INLINE Regression regress(const PassSums& sums, V n) {
  const V det = hn::Sub(hn::Mul(n, sums.qq), hn::Mul(sums.q, sums.q));
  const V numerator = hn::Sub(hn::Mul(n, sums.rq), hn::Mul(sums.q, sums.r));
  const V delta = hn::IfThenElseZero(hn::Gt(det, hn::Zero(d)), hn::Max(hn::Div(numerator, det), splat(-0.875f)));
  return {hn::Div(hn::Sub(sums.r, hn::Mul(delta, sums.q)), n), delta};
}

template <bool kWeighted>
HWY_INLINE V squared_error(const float* HWY_RESTRICT tile, const float* HWY_RESTRICT weights, int n, V max_code,
                           V scale, V zero) {
  const V inverse = inverse_or_zero(scale);
  V sum = hn::Zero(d);
  for (int i = 0; i < n; ++i) {
    const V w = hn::Load(d, tile + i * kTileLanes);
    const V q = round_code(hn::Add(hn::Mul(w, inverse), zero), max_code);
    const V e = hn::Sub(w, hn::Mul(hn::Sub(q, zero), scale));
    sum = hn::Add(sum, hn::Mul(weigh<kWeighted>(weights, i, e), e));
  }
  return sum;
}

// ---------------------------------------------------------------------------------------------------------- loads

void TileLoadGroups(const float* const* groups, int n, float* tile) {
  int i = 0;
#if HWY_TARGET != HWY_SCALAR
  // 4 x 4 transpositions: lanes l..l+3 of elements i..i+3.
  const hn::FixedTag<float, 4> d4;
  const hn::Repartition<double, decltype(d4)> d2;
  for (; i + 4 <= n; i += 4) {
    for (int l = 0; l < kTileLanes; l += 4) {
      const auto a = hn::LoadU(d4, groups[l] + i), b = hn::LoadU(d4, groups[l + 1] + i);
      const auto c = hn::LoadU(d4, groups[l + 2] + i), e = hn::LoadU(d4, groups[l + 3] + i);
      const auto ab_low = hn::BitCast(d2, hn::InterleaveLower(d4, a, b));
      const auto ab_high = hn::BitCast(d2, hn::InterleaveUpper(d4, a, b));
      const auto ce_low = hn::BitCast(d2, hn::InterleaveLower(d4, c, e));
      const auto ce_high = hn::BitCast(d2, hn::InterleaveUpper(d4, c, e));
      float* out = tile + i * kTileLanes + l;
      hn::Store(hn::BitCast(d4, hn::InterleaveLower(d2, ab_low, ce_low)), d4, out);
      hn::Store(hn::BitCast(d4, hn::InterleaveUpper(d2, ab_low, ce_low)), d4, out + kTileLanes);
      hn::Store(hn::BitCast(d4, hn::InterleaveLower(d2, ab_high, ce_high)), d4, out + 2 * kTileLanes);
      hn::Store(hn::BitCast(d4, hn::InterleaveUpper(d2, ab_high, ce_high)), d4, out + 3 * kTileLanes);
    }
  }
#endif
  for (; i < n; ++i) {
    for (int l = 0; l < kTileLanes; ++l) tile[i * kTileLanes + l] = groups[l][i];
  }
}

void TileLoadColumns(const float* first, int64_t stride, int lanes, int n, float* tile) {
  if (lanes < kTileLanes) return ref::tile_load_columns(first, stride, lanes, n, tile);
  for (int i = 0; i < n; ++i) {
    for_each_vector([&](size_t l) { hn::Store(hn::LoadU(d, first + i * stride + l), d, tile + i * kTileLanes + l); });
  }
}

void TileMinMax(const float* tile, int n, float* min, float* max) {
  for_each_vector([&](size_t l) {
    V low = hn::Load(d, tile + l), high = low;
    for (int i = 1; i < n; ++i) {
      const V w = hn::Load(d, tile + i * kTileLanes + l);
      low = hn::Min(low, w);
      high = hn::Max(high, w);
    }
    hn::StoreU(low, d, min + l);
    hn::StoreU(high, d, max + l);
  });
}

// ------------------------------------------------------------------------------------------------------------ hqq

HWY_INLINE V power_minus_0_3(V x) {
  const hn::RebindToSigned<D> di;
  const V log = hn::ConvertTo(d, hn::BitCast(di, x));
  V y = hn::BitCast(d, hn::ConvertTo(di, hn::Sub(splat(1384468480.0f), hn::Mul(splat(0.3f), log))));
  const V x3 = hn::Mul(hn::Mul(x, x), x), one = splat(1.0f), tenth = splat(0.1f);
  for (int step = 0; step < 4; ++step) {
    const V y2 = hn::Mul(y, y), y4 = hn::Mul(y2, y2), y8 = hn::Mul(y4, y4);
    y = hn::Add(y, hn::Mul(hn::Mul(y, tenth), hn::Sub(one, hn::Mul(hn::Mul(x3, y2), y8))));
  }
  return y;
}

/// Zero where the error is not over the threshold.
HWY_INLINE V shrink(V error, V magnitude, M large) {
  const V bounded = hn::Min(hn::Max(magnitude, splat(0.1f)), splat(1e6f));
  const V shrunk = hn::Max(hn::Sub(magnitude, hn::Mul(splat(0.1f), power_minus_0_3(bounded))), hn::Zero(d));
  return hn::IfThenElseZero(large, hn::CopySign(shrunk, error));
}

void TileHqqRounds(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero, int rounds,
                   float* zeros, float* errors) {
  const V top = splat(static_cast<float>(max_code)), count = splat(static_cast<float>(n));
  const V threshold = splat(0.1701f);
  for_each_vector([&](size_t l) {
    const V inverse = hn::LoadU(d, inverse_scale + l);
    const V scale = hn::Div(splat(1.0f), inverse);
    V z = hn::LoadU(d, zero + l);
    for (int round = 0; round < rounds; ++round) {
      V sum = hn::Zero(d), error = hn::Zero(d);
      const float* HWY_RESTRICT group = tile + l;
      for (int i = 0; i < n; ++i) {
        const V w = hn::Load(d, group + i * kTileLanes);
        const V scaled = hn::Mul(w, inverse);
        const V q = round_code(hn::Add(scaled, z), top);
        const V e = hn::Sub(w, hn::Mul(hn::Sub(q, z), scale));
        const V magnitude = hn::Abs(e);
        error = hn::Add(error, magnitude);
        V kept = scaled;
        const M large = hn::Gt(magnitude, threshold);
        if (HWY_UNLIKELY(!hn::AllFalse(d, large))) {
          const V shrunk = shrink(e, magnitude, large);
          kept = hn::IfThenElse(hn::Eq(shrunk, hn::Zero(d)), scaled, hn::Mul(hn::Sub(w, shrunk), inverse));
        }
        sum = hn::Add(sum, hn::Sub(q, kept));
      }
      const V next = hn::Div(sum, count);
      const bool fixed = hn::AllTrue(d, hn::Eq(next, z));
      z = next;
      hn::StoreU(z, d, zeros + round * kTileLanes + l);
      hn::StoreU(error, d, errors + round * kTileLanes + l);
      if (fixed) {  // all further rounds are alike
        for (++round; round < rounds; ++round) {
          hn::StoreU(z, d, zeros + round * kTileLanes + l);
          hn::StoreU(error, d, errors + round * kTileLanes + l);
        }
      }
    }
  });
}

// ------------------------------------------------------------------------------------------------------------ mse

template <bool kWeighted>
HWY_INLINE void fit_mse(const float* tile, const float* weights, int n, int max_code, const float* min,
                        const float* max, const LeastSquaresSearch& search, float* scale, float* center) {
  const V top = splat(static_cast<float>(max_code)), middle = splat(0.5f * static_cast<float>(max_code));
  float total = kWeighted ? 0.0f : static_cast<float>(n);
  for (int i = 0; kWeighted && i < n; ++i) total += weights[i];
  const V count = splat(total), half = splat(0.5f), one = splat(1.0f);
  for_each_vector([&](size_t l) {
    const V high = hn::Mul(half, hn::LoadU(d, max + l)), low = hn::Mul(half, hn::LoadU(d, min + l));
    const V mid = hn::Add(high, low);
    const V range = hn::Div(hn::Sub(high, low), middle);
    const M constant = hn::Lt(range, splat(kSmallestRange));
    const V full = hn::IfThenElse(constant, one, range);
    const auto round = [&](V& s, V& z) HWY_ATTR {
      const PassSums sums = pass<kWeighted>(tile + l, weights, n, top, hn::Div(one, s), z);
      const Regression fit = regress(sums, count);
      const V slope = hn::Add(one, fit.delta);
      const V relative = hn::Div(s, full);
      const V fallen = hn::Add(hn::Mul(fit.alpha, sums.r), hn::Mul(fit.delta, sums.rq));
      const V error = hn::Mul(hn::Mul(relative, relative), hn::Max(hn::Sub(sums.rr, fallen), hn::Zero(d)));
      s = hn::Mul(s, slope);
      z = hn::Div(hn::Sub(z, fit.alpha), slope);
      return error;
    };
    V best_s = full, best_z = hn::Zero(d), best_error = hn::Zero(d);
    const auto consider = [&](V s, V z, int rounds, bool first) HWY_ATTR {
      V error = hn::Zero(d);
      for (int k = 0; k < rounds; ++k) error = round(s, z);
      const M better = first ? hn::Eq(full, full) : hn::Lt(error, best_error);
      best_s = hn::IfThenElse(better, s, best_s);
      best_z = hn::IfThenElse(better, z, best_z);
      best_error = hn::IfThenElse(better, error, best_error);
    };
    for (int k = 0; k < search.starts; ++k) {
      const V s = hn::Mul(full, splat(search.shrinks[k]));
      consider(s, hn::Sub(middle, hn::Div(mid, s)), search.rounds_per_start, k == 0);
    }
    const V around_s = best_s, around_z = best_z;
    for (int k = 0; k < search.nudge_count; ++k) {
      const V factor = splat(search.nudges[k]);
      consider(hn::Mul(around_s, factor), hn::Sub(middle, hn::Div(hn::Sub(middle, around_z), factor)),
               search.rounds_per_nudge, false);
    }
    M active = hn::Not(constant);
    const V tolerance = splat(search.tolerance);
    for (int k = 0; k < search.rounds && !hn::AllFalse(d, active); ++k) {
      V s = best_s, z = best_z;
      const V error = round(s, z);
      best_s = hn::IfThenElse(active, s, best_s);
      best_z = hn::IfThenElse(active, z, best_z);
      active = hn::And(active, hn::Gt(hn::Sub(best_error, error), hn::Mul(tolerance, best_error)));
      best_error = error;
    }
    hn::StoreU(hn::IfThenZeroElse(constant, best_s), d, scale + l);
    hn::StoreU(hn::IfThenElse(constant, mid, hn::Mul(hn::Sub(middle, best_z), best_s)), d, center + l);
  });
}

void TileFitMse(const float* tile, const float* weights, int n, int max_code, const float* min, const float* max,
                const LeastSquaresSearch& search, float* scale, float* center) {
  if (weights == nullptr) return fit_mse<false>(tile, weights, n, max_code, min, max, search, scale, center);
  fit_mse<true>(tile, weights, n, max_code, min, max, search, scale, center);
}

void TileFitBounded(const float* tile, const float* weights, int n, int max_code, const MetadataRange& range,
                    int rounds, float* scale, float* center) {
  // Rare; but the check whether there is anything to do is not.
  const V scale_limit = splat(range.scale_limit), offset_limit = splat(range.offset_limit);
  bool within = true;
  for_each_vector([&](size_t l) {
    const V s = hn::LoadU(d, scale + l), c = hn::Abs(hn::LoadU(d, center + l));
    within &= hn::AllTrue(d, hn::And(hn::Le(s, scale_limit), hn::Le(c, hn::Mul(offset_limit, s))));
  });
  if (!within) ref::tile_fit_bounded(tile, weights, n, max_code, range, rounds, scale, center);
}

template <bool kWeighted>
HWY_INLINE void snap(const float* tile, const float* weights, int n, int max_code, const MetadataSteps& steps,
                     const SnapSearch& search, const float* scale, const float* center, uint8_t* scale_codes,
                     int8_t* zero_codes, float* error) {
  const V top = splat(static_cast<float>(max_code)), middle = splat(0.5f * static_cast<float>(max_code));
  const V magic = splat(12582912.0f);
  const V largest_u = splat(255.0f), largest_i = splat(127.0f), smallest_i = splat(-127.0f);
  for_each_vector([&](size_t l) {
    const V c = hn::LoadU(d, center + l);
    const V scale_step = hn::LoadU(d, steps.scale + l), zero_step = hn::LoadU(d, steps.zero + l);
    const V per_zero_step = inverse_or_zero(zero_step);
    const auto offset_code = [&](V u) HWY_ATTR {
      const V k = hn::Mul(hn::Mul(c, inverse_or_zero(hn::Mul(u, scale_step))), per_zero_step);
      return hn::Sub(hn::Add(hn::Min(hn::Max(k, smallest_i), largest_i), magic), magic);
    };
    const auto evaluate = [&](V u, V i) HWY_ATTR {
      return squared_error<kWeighted>(tile + l, weights, n, top, hn::Mul(u, scale_step),
                                      hn::Sub(middle, hn::Mul(zero_step, i)));
    };
    V best_u = round_code(hn::Mul(hn::LoadU(d, scale + l), inverse_or_zero(scale_step)), largest_u);
    V best_i = offset_code(best_u);
    V best_error = evaluate(best_u, best_i);
    const auto consider = [&](V u, V i) HWY_ATTR {
      const V e = evaluate(u, i);
      const M better = hn::Lt(e, best_error);
      best_u = hn::IfThenElse(better, u, best_u);
      best_i = hn::IfThenElse(better, i, best_i);
      best_error = hn::IfThenElse(better, e, best_error);
    };
    const V around_u = best_u;
    for (int k = 1; k <= search.scale_reach; ++k) {
      const V move = splat(static_cast<float>(k));
      const V up = hn::Min(hn::Add(around_u, move), largest_u), down = hn::Max(hn::Sub(around_u, move), hn::Zero(d));
      consider(up, offset_code(up));
      consider(down, offset_code(down));
    }
    const V around_i = best_i, with_u = best_u;
    for (int k = 1; k <= search.zero_reach; ++k) {
      const V move = splat(static_cast<float>(k * search.zero_stride));
      consider(with_u, hn::Min(hn::Add(around_i, move), largest_i));
      consider(with_u, hn::Max(hn::Sub(around_i, move), smallest_i));
    }
    HWY_ALIGN float u[kTileLanes], i[kTileLanes];
    hn::Store(best_u, d, u);
    hn::Store(best_i, d, i);
    for (size_t k = 0; k < hn::Lanes(d); ++k) {
      scale_codes[l + k] = static_cast<uint8_t>(u[k]);
      zero_codes[l + k] = static_cast<int8_t>(i[k]);
    }
    hn::StoreU(best_error, d, error + l);
  });
}

void TileSnap(const float* tile, const float* weights, int n, int max_code, const MetadataSteps& steps,
              const SnapSearch& search, const float* scale, const float* center, uint8_t* scale_codes,
              int8_t* zero_codes, float* error) {
  if (weights == nullptr) {
    return snap<false>(tile, weights, n, max_code, steps, search, scale, center, scale_codes, zero_codes, error);
  }
  snap<true>(tile, weights, n, max_code, steps, search, scale, center, scale_codes, zero_codes, error);
}

// ---------------------------------------------------------------------------------------------------------- codes

void TileCodes(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero, uint8_t* codes) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint8_t, D> du;
  const V top = splat(static_cast<float>(max_code));
  for_each_vector([&](size_t l) {
    const V inverse = hn::LoadU(d, inverse_scale + l), z = hn::LoadU(d, zero + l);
    for (int i = 0; i < n; ++i) {
      const V t = hn::Add(hn::Mul(hn::Load(d, tile + i * kTileLanes + l), inverse), z);
      hn::StoreU(hn::DemoteTo(du, hn::ConvertTo(di, round_code(t, top))), du, codes + i * kTileLanes + l);
    }
  });
}

void TileSquaredError(const float* tile, int n, int max_code, const float* inverse_scale, const float* scale,
                      const float* zero, double* error) {
  // Half as many floats as fit, so that their doubles fill a vector.
  const hn::CappedTag<double, kTileLanes> dd;
  const hn::Rebind<float, decltype(dd)> df;
  const auto top = hn::Set(df, static_cast<float>(max_code)), magic = hn::Set(df, 12582912.0f);
  for (size_t l = 0; l < kTileLanes; l += hn::Lanes(dd)) {
    const auto inverse = hn::LoadU(df, inverse_scale + l), s = hn::LoadU(df, scale + l), z = hn::LoadU(df, zero + l);
    auto sum = hn::Zero(dd);
    for (int i = 0; i < n; ++i) {
      const auto w = hn::LoadU(df, tile + i * kTileLanes + l);
      const auto t = hn::Min(hn::Max(hn::Add(hn::Mul(w, inverse), z), hn::Zero(df)), top);
      const auto q = hn::Sub(hn::Add(t, magic), magic);
      const auto e = hn::Sub(hn::PromoteTo(dd, w), hn::PromoteTo(dd, hn::Mul(hn::Sub(q, z), s)));
      sum = hn::Add(sum, hn::Mul(e, e));
    }
    hn::StoreU(sum, dd, error + l);
  }
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(TileLoadGroups);
HWY_EXPORT(TileLoadColumns);
HWY_EXPORT(TileMinMax);
HWY_EXPORT(TileHqqRounds);
HWY_EXPORT(TileFitMse);
HWY_EXPORT(TileFitBounded);
HWY_EXPORT(TileSnap);
HWY_EXPORT(TileCodes);
HWY_EXPORT(TileSquaredError);

void tile_load_groups(const float* const* groups, int n, float* tile) {
  HWY_DYNAMIC_DISPATCH(TileLoadGroups)(groups, n, tile);
}
void tile_load_columns(const float* first, int64_t stride, int lanes, int n, float* tile) {
  HWY_DYNAMIC_DISPATCH(TileLoadColumns)(first, stride, lanes, n, tile);
}
void tile_min_max(const float* tile, int n, float* min, float* max) {
  HWY_DYNAMIC_DISPATCH(TileMinMax)(tile, n, min, max);
}
void tile_hqq_rounds(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero, int rounds,
                     float* zeros, float* errors) {
  HWY_DYNAMIC_DISPATCH(TileHqqRounds)(tile, n, max_code, inverse_scale, zero, rounds, zeros, errors);
}
void tile_fit_mse(const float* tile, const float* weights, int n, int max_code, const float* min, const float* max,
                  const LeastSquaresSearch& search, float* scale, float* center) {
  HWY_DYNAMIC_DISPATCH(TileFitMse)(tile, weights, n, max_code, min, max, search, scale, center);
}
void tile_fit_bounded(const float* tile, const float* weights, int n, int max_code, const MetadataRange& range,
                      int rounds, float* scale, float* center) {
  HWY_DYNAMIC_DISPATCH(TileFitBounded)(tile, weights, n, max_code, range, rounds, scale, center);
}
void tile_snap(const float* tile, const float* weights, int n, int max_code, const MetadataSteps& steps,
               const SnapSearch& search, const float* scale, const float* center, uint8_t* scale_codes,
               int8_t* zero_codes, float* error) {
  HWY_DYNAMIC_DISPATCH(TileSnap)
  (tile, weights, n, max_code, steps, search, scale, center, scale_codes, zero_codes, error);
}
void tile_codes(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero, uint8_t* codes) {
  HWY_DYNAMIC_DISPATCH(TileCodes)(tile, n, max_code, inverse_scale, zero, codes);
}
void tile_squared_error(const float* tile, int n, int max_code, const float* inverse_scale, const float* scale,
                        const float* zero, double* error) {
  HWY_DYNAMIC_DISPATCH(TileSquaredError)(tile, n, max_code, inverse_scale, scale, zero, error);
}

}  // namespace mxq
#endif  // HWY_ONCE
