#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rows.cc"
#include <hwy/foreach_target.h>  // must come first
// clang-format off
#include "kernels/rows.h"
// clang-format on

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "base/half.h"

HWY_BEFORE_NAMESPACE();
namespace mxq::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
constexpr D d;
constexpr hn::RebindToUnsigned<D> du;
constexpr hn::Rebind<uint16_t, D> d16;
using V = hn::Vec<D>;

/// combine() over whole vectors, then `last` over what is left; sums and maxima of a row.
template <typename Map, typename Combine>
V fold(const float* row, int64_t n, V start, Map map, Combine combine) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V total = start;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) total = combine(total, map(hn::LoadU(d, row + i)));
  if (i < n) {
    const auto mask = hn::FirstN(d, static_cast<size_t>(n - i));
    HWY_ALIGN float rest[HWY_MAX_BYTES / sizeof(float)] = {};
    std::copy_n(row + i, n - i, rest);
    total = hn::IfThenElse(mask, combine(total, map(hn::Load(d, rest))), total);
  }
  return total;
}

/// row[i] = map(row[i], other[i]), a vector at a time; the last one padded with zeros.
template <typename Map>
void transform(float* row, const float* other, int64_t n, Map map) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(map(hn::LoadU(d, row + i), hn::LoadU(d, other + i)), d, row + i);
  if (i < n) {
    HWY_ALIGN float a[HWY_MAX_BYTES / sizeof(float)] = {};
    HWY_ALIGN float b[HWY_MAX_BYTES / sizeof(float)] = {};
    std::copy_n(row + i, n - i, a);
    std::copy_n(other + i, n - i, b);
    hn::Store(map(hn::Load(d, a), hn::Load(d, b)), d, a);
    std::copy_n(a, n - i, row + i);
  }
}

float Max(const float* row, int64_t n) {
  const V max = fold(
      row, n, hn::Set(d, row[0]), [](V x) { return x; }, [](V a, V b) { return hn::Max(a, b); });
  return hn::GetLane(hn::MaxOfLanes(d, max));
}

void RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  const V squares = fold(
      x, n, hn::Zero(d), [](V v) { return hn::Mul(v, v); }, [](V a, V b) { return hn::Add(a, b); });
  const float scale = 1 / std::sqrt(hn::GetLane(hn::SumOfLanes(d, squares)) / static_cast<float>(n) + eps);
  const V s = hn::Set(d, scale);
  if (out != x) std::copy_n(x, n, out);
  transform(out, weight, n, [s](V v, V w) { return hn::Mul(hn::Mul(v, s), w); });
}

void Softmax(float* row, int64_t n) {
  const V max = hn::Set(d, Max(row, n));
  V sums = hn::Zero(d);
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = n / lanes * lanes;
  transform(row, row, whole, [max, &sums](V v, V) {
    const V power = hn::Exp(d, hn::Sub(v, max));
    sums = hn::Add(sums, power);
    return power;
  });
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  transform(row + whole, row + whole, n - whole, [max](V v, V) { return hn::Exp(d, hn::Sub(v, max)); });
  for (int64_t i = whole; i < n; ++i) sum += row[i];
  const V inverse = hn::Set(d, 1 / sum);
  transform(row, row, n, [inverse](V v, V) { return hn::Mul(v, inverse); });
}

float LogSumExp(const float* row, int64_t n) {
  const float top = Max(row, n);
  const V max = hn::Set(d, top);
  const V sums = fold(
      row, n, hn::Zero(d), [max](V v) { return hn::Exp(d, hn::Sub(v, max)); }, [](V a, V b) { return hn::Add(a, b); });
  return top + std::log(hn::GetLane(hn::SumOfLanes(d, sums)));
}

/// Sums of many vectors: a few in fp32, their sums in fp64.
class LongSum {
 public:
  // Written out, for GCC compiles one that it makes up without the target's instructions.
  LongSum() : near_(hn::Zero(d)) {}

  void add(V v) {
    near_ = hn::Add(near_, v);
    if (++count_ == kNear) flush();
  }
  double total() {
    flush();
    return total_;
  }

 private:
  static constexpr int kNear = 32;

  void flush() {
    HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
    hn::Store(near_, d, lanes);
    for (size_t i = 0; i < hn::Lanes(d); ++i) total_ += lanes[i];
    near_ = hn::Zero(d);
    count_ = 0;
  }

  V near_;
  int count_ = 0;
  double total_ = 0;
};

RowDivergence Divergence(const float* base, const float* other, int64_t n) {
  const float base_max = Max(base, n), other_max = Max(other, n);
  const V vbase_max = hn::Set(d, base_max), vother_max = hn::Set(d, other_max);
  // With b = base - max and o likewise, p = exp(b) / sum(exp(b)): KL = sum(p (b - o)) - ln(sum(exp(b)) / sum(exp(o))).
  LongSum base_sum, other_sum, difference;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto add = [&](V b, V o, auto mask) {
    b = hn::Sub(b, vbase_max);
    o = hn::Sub(o, vother_max);
    const V p = hn::IfThenElseZero(mask, hn::Exp(d, b)), q = hn::IfThenElseZero(mask, hn::Exp(d, o));
    base_sum.add(p);
    other_sum.add(q);
    difference.add(hn::Mul(p, hn::Sub(b, o)));
  };
  const auto whole = hn::FirstN(d, static_cast<size_t>(lanes));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) add(hn::LoadU(d, base + i), hn::LoadU(d, other + i), whole);
  if (i < n) {
    HWY_ALIGN float b[HWY_MAX_BYTES / sizeof(float)] = {};
    HWY_ALIGN float o[HWY_MAX_BYTES / sizeof(float)] = {};
    std::copy_n(base + i, n - i, b);
    std::copy_n(other + i, n - i, o);
    add(hn::Load(d, b), hn::Load(d, o), hn::FirstN(d, static_cast<size_t>(n - i)));
  }
  const double sum = base_sum.total(), sum_other = other_sum.total();
  const double kl = difference.total() / sum - std::log(sum / sum_other);
  // Where rows are nearly equal, rounding may take the difference of two equal terms below 0; NaN stays.
  return {kl < 0 ? 0 : kl, base_max + std::log(sum), other_max + std::log(sum_other),
          std::find(base, base + n, base_max) - base, std::find(other, other + n, other_max) - other};
}

void SiluMultiply(float* gate, const float* up, int64_t n) {
  const V one = hn::Set(d, 1.0f);
  transform(gate, up, n, [one](V g, V u) { return hn::Mul(hn::Div(g, hn::Add(one, hn::Exp(d, hn::Neg(g)))), u); });
}

void ToBf16(const float* x, int64_t n, uint16_t* out) {
  const auto round = [](V v) {
    const auto bits = hn::BitCast(du, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
    const auto nearest = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF)));
    const auto quiet = hn::Or(bits, hn::Set(du, 0x400000));
    const auto kept = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, nearest);
    return hn::TruncateTo(d16, hn::ShiftRight<16>(kept));
  };
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(round(hn::LoadU(d, x + i)), d16, out + i);
  if (i < n) {
    HWY_ALIGN float rest[HWY_MAX_BYTES / sizeof(float)] = {};
    HWY_ALIGN uint16_t rounded[HWY_MAX_BYTES / sizeof(float)];
    std::copy_n(x + i, n - i, rest);
    hn::Store(round(hn::Load(d, rest)), d16, rounded);
    std::copy_n(rounded, n - i, out + i);
  }
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(RmsNorm);
HWY_EXPORT(Softmax);
HWY_EXPORT(LogSumExp);
HWY_EXPORT(Divergence);
HWY_EXPORT(SiluMultiply);
HWY_EXPORT(ToBf16);

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(RmsNorm)(x, weight, eps, n, out);
}
void softmax(float* row, int64_t n) {
  HWY_DYNAMIC_DISPATCH(Softmax)(row, n);
}
float log_sum_exp(const float* row, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(LogSumExp)(row, n);
}
RowDivergence row_divergence(const float* base, const float* other, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(Divergence)(base, other, n);
}
void silu_multiply(float* gate, const float* up, int64_t n) {
  HWY_DYNAMIC_DISPATCH(SiluMultiply)(gate, up, n);
}
void to_bf16(const float* x, int64_t n, uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(ToBf16)(x, n, out);
}

namespace ref {

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
  const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + eps);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(x[i] * scale * weight[i]);
}

void softmax(float* row, int64_t n) {
  const double total = log_sum_exp(row, n);
  for (int64_t i = 0; i < n; ++i) row[i] = static_cast<float>(std::exp(row[i] - total));
}

float log_sum_exp(const float* row, int64_t n) {
  const double max = *std::max_element(row, row + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(row[i] - max);
  return static_cast<float>(max + std::log(sum));
}

RowDivergence row_divergence(const float* base, const float* other, int64_t n) {
  const auto log_sum = [n](const float* row, double max) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::exp(row[i] - max);
    return max + std::log(sum);
  };
  RowDivergence result;
  result.base_top = std::max_element(base, base + n) - base;
  result.other_top = std::max_element(other, other + n) - other;
  result.base_log_sum = log_sum(base, base[result.base_top]);
  result.other_log_sum = log_sum(other, other[result.other_top]);
  for (int64_t i = 0; i < n; ++i) {
    const double log_p = base[i] - result.base_log_sum, log_q = other[i] - result.other_log_sum;
    result.kl += std::exp(log_p) * (log_p - log_q);
  }
  result.kl = std::max(result.kl, 0.0);
  return result;
}

void silu_multiply(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    gate[i] = static_cast<float>(gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i]);
  }
}

void to_bf16(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = bf16_from_f32(x[i]);
}

}  // namespace ref

}  // namespace mxq
#endif  // HWY_ONCE
