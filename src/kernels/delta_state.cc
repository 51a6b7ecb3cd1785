// SIMD twins of delta_state_ref.cc, compiled once per instruction set; the best is chosen at run time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/delta_state.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/delta_state.h"
// clang-format on

#include <hwy/highway.h>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::CappedTag<float, 16>;
using Single = hn::CappedTag<float, 1>;

/// Calls body(d, j) for vectors of n elements, and for those left one by one.
template <typename Body>
HWY_INLINE void ForEach(int64_t n, Body body) {
  const Wide d;
  int64_t j = 0;
  for (; j + static_cast<int64_t>(hn::Lanes(d)) <= n; j += static_cast<int64_t>(hn::Lanes(d))) body(d, j);
  for (; j < n; ++j) body(Single(), j);
}

/// kVectors vectors of columns side by side, so that no sum waits for itself.
template <int kVectors, class D>
HWY_INLINE void StepColumns(D d, float* state, int64_t keys, int64_t stride, const DeltaToken& token, int64_t j,
                            float* error, float* out) {
  using V = hn::Vec<D>;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const V decay = hn::Set(d, token.decay), rate = hn::Set(d, token.rate);
  V sums[kVectors], changes[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = hn::Zero(d);
  for (int64_t i = 0; i < keys; ++i) {
    const V key = hn::Set(d, token.key[i]);
    const float* HWY_RESTRICT row = state + i * stride + j;
    for (int v = 0; v < kVectors; ++v) {
      sums[v] = hn::Add(sums[v], hn::Mul(key, hn::Mul(decay, hn::LoadU(d, row + v * lanes))));
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const V e = hn::Sub(hn::LoadU(d, token.value + j + v * lanes), sums[v]);
    hn::StoreU(e, d, error + j + v * lanes);
    changes[v] = hn::Mul(rate, e);
    sums[v] = hn::Zero(d);
  }
  for (int64_t i = 0; i < keys; ++i) {
    const V key = hn::Set(d, token.key[i]), query = hn::Set(d, token.query[i]);
    float* HWY_RESTRICT row = state + i * stride + j;
    for (int v = 0; v < kVectors; ++v) {
      const V s = hn::Add(hn::Mul(decay, hn::LoadU(d, row + v * lanes)), hn::Mul(key, changes[v]));
      hn::StoreU(s, d, row + v * lanes);
      sums[v] = hn::Add(sums[v], hn::Mul(query, s));
    }
  }
  for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[v], d, out + j + v * lanes);
}

void DeltaStep(float* state, int64_t keys, int64_t values, const DeltaToken& token, float* error, float* out) {
  constexpr int kVectors = 4;
  const Wide d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t j = 0;
  for (; j + kVectors * lanes <= values; j += kVectors * lanes) {
    StepColumns<kVectors>(d, state, keys, values, token, j, error, out);
  }
  for (; j + lanes <= values; j += lanes) StepColumns<1>(d, state, keys, values, token, j, error, out);
  for (; j < values; ++j) StepColumns<1>(Single(), state, keys, values, token, j, error, out);
}

/// A sum over vectors, and over elements one by one.
class Sum {
 public:
  HWY_INLINE Sum() : wide_(hn::Zero(Wide())) {}

  template <class D>
  HWY_INLINE void add(D /*d*/, hn::Vec<D> x) {
    if constexpr (std::is_same_v<D, Wide>) {
      wide_ = hn::Add(wide_, x);
    } else {
      single_ += hn::GetLane(x);
    }
  }
  HWY_INLINE float total() const { return hn::GetLane(hn::SumOfLanes(Wide(), wide_)) + single_; }

 private:
  hn::Vec<Wide> wide_;
  float single_ = 0;
};

void DeltaStepBack(const float* state, int64_t keys, int64_t values, const DeltaToken& token, const float* error,
                   const float* outer, float* gradient, DeltaTokenGradient& of_token) {
  float* const of_change = of_token.value;
  ForEach(values, [&](auto d, int64_t j) HWY_ATTR { hn::StoreU(hn::Zero(d), d, of_change + j); });
  for (int64_t i = 0; i < keys; ++i) {
    Sum of_query, of_key;
    const float *s = state + i * values, key = token.key[i], query = token.query[i];
    float* const g = gradient + i * values;
    ForEach(values, [&](auto d, int64_t j) HWY_ATTR {
      const auto change = hn::Mul(hn::Set(d, token.rate), hn::LoadU(d, error + j)), o = hn::LoadU(d, outer + j);
      const auto after =
          hn::Add(hn::Mul(hn::Set(d, token.decay), hn::LoadU(d, s + j)), hn::Mul(hn::Set(d, key), change));
      const auto inner = hn::Add(hn::LoadU(d, g + j), hn::Mul(hn::Set(d, query), o));
      hn::StoreU(inner, d, g + j);
      of_query.add(d, hn::Mul(after, o));
      of_key.add(d, hn::Mul(inner, change));
      hn::StoreU(hn::Add(hn::LoadU(d, of_change + j), hn::Mul(hn::Set(d, key), inner)), d, of_change + j);
    });
    of_token.query[i] = of_query.total();
    of_token.key[i] = of_key.total();
  }
  Sum of_rate, of_decay;
  ForEach(values, [&](auto d, int64_t j) HWY_ATTR {
    const auto change = hn::LoadU(d, of_change + j);
    of_rate.add(d, hn::Mul(change, hn::LoadU(d, error + j)));
    hn::StoreU(hn::Mul(hn::Set(d, token.rate), change), d, of_token.value + j);
  });
  for (int64_t i = 0; i < keys; ++i) {
    Sum of_key;
    const float *s = state + i * values, key = token.key[i];
    float* const g = gradient + i * values;
    ForEach(values, [&](auto d, int64_t j) HWY_ATTR {
      const auto decay = hn::Set(d, token.decay), before = hn::LoadU(d, s + j);
      const auto of_value = hn::LoadU(d, of_token.value + j);
      const auto inner = hn::Sub(hn::LoadU(d, g + j), hn::Mul(hn::Set(d, key), of_value));
      of_key.add(d, hn::Mul(hn::Mul(decay, before), of_value));
      of_decay.add(d, hn::Mul(inner, before));
      hn::StoreU(hn::Mul(decay, inner), d, g + j);
    });
    of_token.key[i] -= of_key.total();
  }
  of_token.rate = of_rate.total();
  of_token.decay = of_decay.total();
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(DeltaStep);
HWY_EXPORT(DeltaStepBack);

void delta_step(float* state, int64_t keys, int64_t values, const DeltaToken& token, float* error, float* out) {
  HWY_DYNAMIC_DISPATCH(DeltaStep)(state, keys, values, token, error, out);
}
void delta_step_back(const float* state, int64_t keys, int64_t values, const DeltaToken& token, const float* error,
                     const float* outer, float* gradient, DeltaTokenGradient& of_token) {
  HWY_DYNAMIC_DISPATCH(DeltaStepBack)(state, keys, values, token, error, outer, gradient, of_token);
}

}  // namespace mxq
#endif  // HWY_ONCE
