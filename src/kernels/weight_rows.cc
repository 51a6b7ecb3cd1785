// SIMD twins of weight_rows_ref.cc, compiled once per instruction set; the best is chosen at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/weight_rows.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/weight_rows.h"
// clang-format on

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

/// The first two steps, of neighbours and of every other element: four elements of a vector each at a time.
template <class D>
HWY_INLINE void FirstSteps(D d, float* x, int64_t n) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < n; i += 4 * lanes) {
    hn::Vec<D> x0, x1, x2, x3;
    hn::LoadInterleaved4(d, x + i, x0, x1, x2, x3);
    const auto sum01 = hn::Add(x0, x1), difference01 = hn::Sub(x0, x1);
    const auto sum23 = hn::Add(x2, x3), difference23 = hn::Sub(x2, x3);
    hn::StoreInterleaved4(hn::Add(sum01, sum23), hn::Add(difference01, difference23), hn::Sub(sum01, sum23),
                          hn::Sub(difference01, difference23), d, x + i);
  }
}

/// One step, of elements that are `half` apart, at least a vector.
template <class D>
HWY_INLINE void Step(D d, float* x, int64_t n, int64_t half) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t first = 0; first < n; first += 2 * half) {
    float *a = x + first, *b = a + half;
    for (int64_t i = 0; i < half; i += lanes) {
      const auto va = hn::LoadU(d, a + i), vb = hn::LoadU(d, b + i);
      hn::StoreU(hn::Add(va, vb), d, a + i);
      hn::StoreU(hn::Sub(va, vb), d, b + i);
    }
  }
}

void WalshHadamard(float* x, int64_t n) {
  const hn::CappedTag<float, 16> d;
  if (n < 4 * static_cast<int64_t>(hn::Lanes(d))) return ref::walsh_hadamard(x, n);
  FirstSteps(d, x, n);
  if (n > 4) Step(hn::CappedTag<float, 4>(), x, n, 4);
  if (n > 8) Step(hn::CappedTag<float, 8>(), x, n, 8);
  for (int64_t half = 16; half < n; half *= 2) Step(d, x, n, half);
}

double SquaredDistance(const float* a, const float* b, int64_t n) {
  constexpr int64_t kSums = 8;
  const hn::CappedTag<double, kSums> d;
  const hn::Rebind<float, decltype(d)> df;
  constexpr int64_t lanes = hn::MaxLanes(d);
  hn::Vec<decltype(d)> sums[kSums / lanes];
  for (auto& sum : sums) sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int64_t v = 0; v < kSums / lanes; ++v) {
      const auto from = hn::PromoteTo(d, hn::LoadU(df, a + i + v * lanes));
      const auto to = hn::PromoteTo(d, hn::LoadU(df, b + i + v * lanes));
      const auto error = hn::Sub(from, to);
      sums[v] = hn::Add(sums[v], hn::Mul(error, error));
    }
  }
  double s[kSums];
  for (int64_t v = 0; v < kSums / lanes; ++v) hn::StoreU(sums[v], d, s + v * lanes);
  for (int64_t l = 0; i < n; ++i, ++l) {
    const double error = double{a[i]} - double{b[i]};
    s[l] = s[l] + error * error;
  }
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(WalshHadamard);
HWY_EXPORT(SquaredDistance);

void walsh_hadamard(float* x, int64_t n) {
  HWY_DYNAMIC_DISPATCH(WalshHadamard)(x, n);
}
double squared_distance(const float* a, const float* b, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(SquaredDistance)(a, b, n);
}

}  // namespace mxq
#endif  // HWY_ONCE
