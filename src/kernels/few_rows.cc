#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/few_rows.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/few_rows.h"
// clang-format on

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <type_traits>

#include "base/half.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using Wide = hn::CappedTag<float, 16>;
using Single = hn::CappedTag<float, 1>;
constexpr Wide d;
using V = hn::Vec<Wide>;

constexpr int64_t kKeys = 4;  // at a time

/// Asks for a row that is read soon: what processors fetch ahead by themselves ends with each page of memory.
template <typename T>
HWY_INLINE void PrefetchRow(const T* row, int64_t k) {
  for (int64_t i = 0; i < k; i += static_cast<int64_t>(64 / sizeof(T))) hwy::Prefetch(row + i);
}
constexpr int64_t kRowsAhead = 16;

template <class D>
HWY_INLINE hn::Vec<D> LoadFloats(D tag, const float* from) {
  return hn::LoadU(tag, from);
}
template <class D>
HWY_INLINE hn::Vec<D> LoadFloats(D tag, const uint16_t* bf16) {
  const hn::Rebind<uint32_t, D> bits;
  const hn::Rebind<uint16_t, D> halves;
  return hn::BitCast(tag, hn::ShiftLeft<16>(hn::PromoteTo(bits, hn::LoadU(halves, bf16))));
}

#if HWY_TARGET != HWY_SCALAR
/// Of each block of kKeys lanes, their sums.
template <class D>
HWY_INLINE hn::Vec<hn::CappedTag<float, kKeys>> SumOfBlocks(hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) > kKeys) {
    const hn::Half<D> half;
    return SumOfBlocks<hn::Half<D>>(hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else {
    return v;
  }
}
#endif

/// The sums of each vector's lanes.
HWY_INLINE void StoreSums(const V (&of)[kKeys], float* sums) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t j = 0; j < kKeys; ++j) sums[j] = hn::GetLane(of[j]);
#else
  const hn::Repartition<double, Wide> pairs;
  const auto halves = [&](V a, V b) HWY_ATTR {
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b)));
  };
  const auto left = halves(of[0], of[1]), right = halves(of[2], of[3]);
  const V blocks = hn::Add(hn::BitCast(d, hn::InterleaveLower(pairs, left, right)),
                           hn::BitCast(d, hn::InterleaveUpper(pairs, left, right)));
  hn::StoreU(SumOfBlocks<Wide>(blocks), hn::CappedTag<float, kKeys>(), sums);
#endif
}

/// kRows rows of q, and kKeys keys, the last ones of which may be the same; `count` of them are written.
template <int kRows, typename T>
HWY_INLINE void Scores(int64_t n, int64_t k, const float* q, const T* const (&key)[kKeys], int64_t count,
                       float* scores) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V of[kRows][kKeys];
  for (auto& row : of) std::fill_n(row, kKeys, hn::Zero(d));
  int64_t at = 0;
  for (; at + lanes <= k; at += lanes) {
    V y[kKeys];
    for (int64_t j = 0; j < kKeys; ++j) y[j] = LoadFloats(d, key[j] + at);
    for (int64_t r = 0; r < kRows; ++r) {
      const V x = hn::LoadU(d, q + r * k + at);
      for (int64_t j = 0; j < kKeys; ++j) of[r][j] = hn::MulAdd(x, y[j], of[r][j]);
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    float last[kKeys];
    float* const sums = count == kKeys ? scores + r * n : last;
    StoreSums(of[r], sums);
    for (int64_t i = at; i < k; ++i) {
      for (int64_t j = 0; j < kKeys; ++j) sums[j] += q[r * k + i] * hn::GetLane(LoadFloats(Single(), key[j] + i));
    }
    if (sums == last) std::copy_n(last, count, scores + r * n);
  }
}

template <typename T>
HWY_INLINE void FewRowsScores(int64_t m, int64_t n, int64_t k, const float* q, const T* keys, int64_t stride,
                              float* scores) {
  for (int64_t i = 0; i < n; i += kKeys) {
    const T* key[kKeys];
    for (int64_t j = 0; j < kKeys; ++j) {
      key[j] = keys + std::min(i + j, n - 1) * stride;
      PrefetchRow(key[j] + kRowsAhead * stride, k);
    }
    const int64_t count = std::min(kKeys, n - i);
    int64_t r = 0;
    for (; r + 3 <= m; r += 3) Scores<3>(n, k, q + r * k, key, count, scores + r * n + i);
    if (r + 2 <= m) {
      Scores<2>(n, k, q + r * k, key, count, scores + r * n + i);
    } else if (r < m) {
      Scores<1>(n, k, q + r * k, key, count, scores + r * n + i);
    }
  }
}

/// kRows rows of kVectors vectors.
template <int kRows, int kVectors, class D, typename T>
HWY_INLINE void Mix(D tag, int64_t n, int64_t k, const float* weights, const T* values, int64_t stride, float* out) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(tag));
  hn::Vec<D> sum[kRows][kVectors];
  for (auto& row : sum) std::fill_n(row, kVectors, hn::Zero(tag));
  for (int64_t i = 0; i < n; ++i) {
    const T* HWY_RESTRICT value = values + i * stride;
    PrefetchRow(value + kRowsAhead * stride, kVectors * lanes);
    hn::Vec<D> x[kVectors];
    for (int v = 0; v < kVectors; ++v) x[v] = LoadFloats(tag, value + v * lanes);
    for (int r = 0; r < kRows; ++r) {
      const auto weight = hn::Set(tag, weights[r * n + i]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(weight, x[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], tag, out + r * k + v * lanes);
  }
}

template <int kRows, typename T>
void MixRows(int64_t n, int64_t k, const float* weights, const T* values, int64_t stride, float* out) {
  constexpr int kVectors = kRows <= 2 ? 4 : 2;  // sums and values stay in registers
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t at = 0;
  for (; at + kVectors * lanes <= k; at += kVectors * lanes) {
    Mix<kRows, kVectors>(d, n, k, weights, values + at, stride, out + at);
  }
  for (; at + lanes <= k; at += lanes) Mix<kRows, 1>(d, n, k, weights, values + at, stride, out + at);
  for (; at < k; ++at) Mix<kRows, 1>(Single(), n, k, weights, values + at, stride, out + at);
}

template <typename T>
HWY_INLINE void FewRowsMix(int64_t m, int64_t n, int64_t k, const float* weights, const T* values, int64_t stride,
                           float* out) {
  while (m > 0) {
    const int64_t rows = std::min<int64_t>(m, 4);
    switch (rows) {
      case 1:
        MixRows<1>(n, k, weights, values, stride, out);
        break;
      case 2:
        MixRows<2>(n, k, weights, values, stride, out);
        break;
      case 3:
        MixRows<3>(n, k, weights, values, stride, out);
        break;
      default:
        MixRows<4>(n, k, weights, values, stride, out);
    }
    weights += rows * n;
    out += rows * k;
    m -= rows;
  }
}

void ScoresF32(int64_t m, int64_t n, int64_t k, const float* q, const float* keys, int64_t stride, float* scores) {
  FewRowsScores(m, n, k, q, keys, stride, scores);
}
void ScoresBf16(int64_t m, int64_t n, int64_t k, const float* q, const uint16_t* keys, int64_t stride, float* scores) {
  FewRowsScores(m, n, k, q, keys, stride, scores);
}
void MixF32(int64_t m, int64_t n, int64_t k, const float* weights, const float* values, int64_t stride, float* out) {
  FewRowsMix(m, n, k, weights, values, stride, out);
}
void MixBf16(int64_t m, int64_t n, int64_t k, const float* weights, const uint16_t* values, int64_t stride,
             float* out) {
  FewRowsMix(m, n, k, weights, values, stride, out);
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(ScoresF32);
HWY_EXPORT(ScoresBf16);
HWY_EXPORT(MixF32);
HWY_EXPORT(MixBf16);

template <typename T>
void few_rows_scores(int64_t m, int64_t n, int64_t k, const float* q, const T* keys, int64_t stride, float* scores) {
  if constexpr (std::is_same_v<T, float>) {
    HWY_DYNAMIC_DISPATCH(ScoresF32)(m, n, k, q, keys, stride, scores);
  } else {
    HWY_DYNAMIC_DISPATCH(ScoresBf16)(m, n, k, q, keys, stride, scores);
  }
}

template <typename T>
void few_rows_mix(int64_t m, int64_t n, int64_t k, const float* weights, const T* values, int64_t stride, float* out) {
  if constexpr (std::is_same_v<T, float>) {
    HWY_DYNAMIC_DISPATCH(MixF32)(m, n, k, weights, values, stride, out);
  } else {
    HWY_DYNAMIC_DISPATCH(MixBf16)(m, n, k, weights, values, stride, out);
  }
}

// Scalar twins, with sums in fp64.
namespace ref {

namespace {

double value(float x) {
  return x;
}
double value(uint16_t bf16) {
  return f32_from_bf16(bf16);
}

}  // namespace

template <typename T>
void few_rows_scores(int64_t m, int64_t n, int64_t k, const float* q, const T* keys, int64_t stride, float* scores) {
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < k; ++j) sum += q[r * k + j] * value(keys[i * stride + j]);
      scores[r * n + i] = static_cast<float>(sum);
    }
  }
}

template <typename T>
void few_rows_mix(int64_t m, int64_t n, int64_t k, const float* weights, const T* values, int64_t stride, float* out) {
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t j = 0; j < k; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += weights[r * n + i] * value(values[i * stride + j]);
      out[r * k + j] = static_cast<float>(sum);
    }
  }
}

}  // namespace ref

#define MXQ_FOR_TYPE(T)                                                                                   \
  template void few_rows_scores(int64_t, int64_t, int64_t, const float*, const T*, int64_t, float*);      \
  template void few_rows_mix(int64_t, int64_t, int64_t, const float*, const T*, int64_t, float*);         \
  template void ref::few_rows_scores(int64_t, int64_t, int64_t, const float*, const T*, int64_t, float*); \
  template void ref::few_rows_mix(int64_t, int64_t, int64_t, const float*, const T*, int64_t, float*);

MXQ_FOR_TYPE(float)
MXQ_FOR_TYPE(uint16_t)

}  // namespace mxq
#endif  // HWY_ONCE
