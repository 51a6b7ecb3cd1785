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
#include <limits>
#include <numbers>

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

/// out[i] = map(row[i], other[i]), a vector at a time; the last one padded with zeros.
template <typename Map>
void transform(const float* row, const float* other, int64_t n, float* out, Map map) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(map(hn::LoadU(d, row + i), hn::LoadU(d, other + i)), d, out + i);
  if (i < n) {
    HWY_ALIGN float a[HWY_MAX_BYTES / sizeof(float)] = {};
    HWY_ALIGN float b[HWY_MAX_BYTES / sizeof(float)] = {};
    std::copy_n(row + i, n - i, a);
    std::copy_n(other + i, n - i, b);
    hn::Store(map(hn::Load(d, a), hn::Load(d, b)), d, a);
    std::copy_n(a, n - i, out + i);
  }
}

/// NaN where x is: Highway's Exp gives 0 there, and a broken model would seem whole.
HWY_INLINE V KeepNan(V x, V result) {
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

HWY_INLINE V Exp(V x) {
  return KeepNan(x, hn::Exp(d, x));
}

float Max(const float* row, int64_t n) {
  const V max = fold(
      row, n, hn::Set(d, row[0]), [](V x) { return x; }, [](V a, V b) { return hn::Max(a, b); });
  return hn::GetLane(hn::MaxOfLanes(d, max));
}

float RmsNorm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  const V squares = fold(
      x, n, hn::Zero(d), [](V v) { return hn::Mul(v, v); }, [](V a, V b) { return hn::Add(a, b); });
  const float mean = hn::GetLane(hn::SumOfLanes(d, squares)) / static_cast<float>(n);
  const V s = hn::Set(d, 1 / std::sqrt(mean + eps));
  transform(x, weight, n, out, [s](V v, V w) { return hn::Mul(hn::Mul(v, s), w); });
  return mean;
}

float Dot(const float* x, const float* y, int64_t n) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V even = hn::Zero(d), odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), even);
    odd = hn::MulAdd(hn::LoadU(d, x + i + lanes), hn::LoadU(d, y + i + lanes), odd);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  for (; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

void AddRmsNormGradient(const float* x, const float* weight, float eps, const float* outer, int64_t n,
                        float* gradient) {
  const float mean = Dot(x, x, n) / static_cast<float>(n), scale = 1 / std::sqrt(mean + eps);
  // With y = s w x, s = (mean(x^2) + eps)^-1/2: dx = s (w dy) - x s^3 / n sum(w dy x).
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = n / lanes * lanes;
  V sums = hn::Zero(d);
  for (int64_t i = 0; i < whole; i += lanes) {
    sums = hn::MulAdd(hn::Mul(hn::LoadU(d, weight + i), hn::LoadU(d, outer + i)), hn::LoadU(d, x + i), sums);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (int64_t i = whole; i < n; ++i) sum += weight[i] * outer[i] * x[i];
  const float back = sum * scale * scale * scale / static_cast<float>(n);
  const V s = hn::Set(d, scale), b = hn::Set(d, back);
  for (int64_t i = 0; i < whole; i += lanes) {
    const V direct = hn::Mul(s, hn::Mul(hn::LoadU(d, weight + i), hn::LoadU(d, outer + i)));
    const V through = hn::NegMulAdd(hn::LoadU(d, x + i), b, direct);
    hn::StoreU(hn::Add(hn::LoadU(d, gradient + i), through), d, gradient + i);
  }
  for (int64_t i = whole; i < n; ++i) gradient[i] += scale * weight[i] * outer[i] - x[i] * back;
}

void Softmax(float* row, float factor, int64_t n) {
  const V max = hn::Set(d, Max(row, n)), scale = hn::Set(d, factor);
  V sums = hn::Zero(d);
  const int64_t whole = n / static_cast<int64_t>(hn::Lanes(d)) * static_cast<int64_t>(hn::Lanes(d));
  transform(row, row, whole, row, [=, &sums](V v, V) {
    const V power = Exp(hn::Mul(scale, hn::Sub(v, max)));
    sums = hn::Add(sums, power);
    return power;
  });
  float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  transform(row + whole, row + whole, n - whole, row + whole,
            [=](V v, V) { return Exp(hn::Mul(scale, hn::Sub(v, max))); });
  for (int64_t i = whole; i < n; ++i) sum += row[i];
  const V inverse = hn::Set(d, 1 / sum);
  transform(row, row, n, row, [inverse](V v, V) { return hn::Mul(v, inverse); });
}

HWY_INLINE hn::Vec<decltype(d16)> RoundToBf16(V v) {
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto nearest = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF)));
  const auto quiet = hn::Or(bits, hn::Set(du, 0x400000));
  const auto kept = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, nearest);
  return hn::TruncateTo(d16, hn::ShiftRight<16>(kept));
}

/// out[i] = bf16(map(x[i])), a vector at a time; the last one padded with zeros, which `map` is told (lanes in use).
template <typename Map>
void store_bf16(const float* x, int64_t n, uint16_t* out, Map map) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(RoundToBf16(map(hn::LoadU(d, x + i), lanes)), d16, out + i);
  if (i < n) {
    HWY_ALIGN float rest[HWY_MAX_BYTES / sizeof(float)] = {};
    HWY_ALIGN uint16_t rounded[HWY_MAX_BYTES / sizeof(float)];
    std::copy_n(x + i, n - i, rest);
    hn::Store(RoundToBf16(map(hn::Load(d, rest), n - i)), d16, rounded);
    std::copy_n(rounded, n - i, out + i);
  }
}

/// 2^x to 3e-6, for x <= 0; what is below 2^-126 becomes that. A power of two by the exponent's bits, the rest by
/// Taylor's series. A third of hn::Exp's work, and closer than bf16 can tell.
HWY_INLINE V RoughExp2(V x) {
  constexpr hn::RebindToSigned<D> di;
  const V bounded = hn::Max(x, hn::Set(d, -126.0f)), whole = hn::Round(bounded), r = hn::Sub(bounded, whole);
  V sum = hn::Set(d, 0.00133336f);  // ln(2)^5 / 5!
  for (const float term : {0.00961813f, 0.0555041f, 0.240227f, 0.693147f, 1.0f}) {
    sum = hn::MulAdd(sum, r, hn::Set(d, term));
  }
  return KeepNan(x, hn::BitCast(d, hn::Add(hn::BitCast(di, sum), hn::ShiftLeft<23>(hn::ConvertTo(di, whole)))));
}

float SoftmaxBf16(const float* row, float factor, int64_t n, uint16_t* out) {
  constexpr float log2_of_e = 1.44269504f;
  const V max = hn::Set(d, Max(row, n)), scale = hn::Set(d, factor * log2_of_e);
  V sums = hn::Zero(d);
  store_bf16(row, n, out, [=, &sums](V v, int64_t used) {
    const V power = RoughExp2(hn::Mul(scale, hn::Sub(v, max)));
    sums = hn::Add(sums, hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(used)), power));
    return power;
  });
  return hn::GetLane(hn::SumOfLanes(d, sums));
}

void ToBf16(const float* x, int64_t n, uint16_t* out) {
  store_bf16(x, n, out, [](V v, int64_t) { return v; });
}

void Add(float* x, const float* y, int64_t n) {
  transform(x, y, n, x, [](V a, V b) { return hn::Add(a, b); });
}

void RotatePairs(float* head, const float* cos, const float* sin, int64_t half) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const V a = hn::LoadU(d, head + i), b = hn::LoadU(d, head + half + i);
    const V c = hn::LoadU(d, cos + i), s = hn::LoadU(d, sin + i);
    hn::StoreU(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), d, head + i);
    hn::StoreU(hn::Add(hn::Mul(b, c), hn::Mul(a, s)), d, head + half + i);
  }
  for (; i < half; ++i) {
    const float a = head[i], b = head[half + i];
    head[i] = a * cos[i] - b * sin[i];
    head[half + i] = b * cos[i] + a * sin[i];
  }
}

float LogSumExp(const float* row, int64_t n) {
  const float top = Max(row, n);
  const V max = hn::Set(d, top);
  const V sums = fold(
      row, n, hn::Zero(d), [max](V v) { return Exp(hn::Sub(v, max)); }, [](V a, V b) { return hn::Add(a, b); });
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
    const V p = hn::IfThenElseZero(mask, Exp(b)), q = hn::IfThenElseZero(mask, Exp(o));
    base_sum.add(p);
    other_sum.add(q);
    // What has no probability adds nothing, however far apart the two are; NaN does.
    difference.add(hn::IfThenZeroElse(hn::Eq(p, hn::Zero(d)), hn::Mul(p, hn::Sub(b, o))));
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

/// gate / (1 + exp(-x)).
HWY_INLINE V Gated(V gate, V x) {
  // hn::Exp is good up to 104, where it is infinite, and gives anything at all above.
  const V one = hn::Set(d, 1.0f), most = hn::Set(d, 104.0f);
  return hn::Div(gate, hn::Add(one, hn::Exp(d, hn::Min(hn::Neg(x), most))));
}

/// gate = gate / (1 + exp(-of(gate))) * up.
template <typename Of>
void GateMultiply(float* gate, const float* up, int64_t n, Of of) {
  transform(gate, up, n, gate, [of](V g, V u) { return hn::Mul(Gated(g, of(g)), u); });
}

void SiluMultiply(float* gate, const float* up, int64_t n) {
  GateMultiply(gate, up, n, [](V g) { return g; });
}

// (1 + tanh(y)) / 2 is 1 / (1 + exp(-2 y)).
void GeluMultiply(float* gate, const float* up, int64_t n) {
  const V cubic = hn::Set(d, static_cast<float>(kGeluCubic)), one = hn::Set(d, 1.0f);
  const V scale = hn::Set(d, static_cast<float>(2 * kGeluScale));
  GateMultiply(gate, up, n,
               [cubic, one, scale](V g) { return hn::Mul(hn::Mul(scale, g), hn::MulAdd(cubic, hn::Mul(g, g), one)); });
}

void ClampedMultiply(float* gate, const float* up, int64_t n) {
  const V limit = hn::Set(d, static_cast<float>(kClampedLimit)), one = hn::Set(d, 1.0f);
  const V scale = hn::Set(d, static_cast<float>(kClampedScale));
  transform(gate, up, n, gate, [=](V g, V u) {
    const V clamped = KeepNan(g, hn::Min(g, limit));
    const V raised = hn::Add(KeepNan(u, hn::Max(hn::Min(u, limit), hn::Neg(limit))), one);
    return hn::Mul(Gated(clamped, hn::Mul(scale, clamped)), raised);
  });
}

void SoftCap(float* row, float factor, float cap, int64_t n) {
  const V scale = hn::Set(d, factor / cap), most = hn::Set(d, cap);
  transform(row, row, n, row, [scale, most](V v, V) {
    const V x = hn::Mul(scale, v);
    return KeepNan(x, hn::Mul(most, hn::Tanh(d, x)));
  });
}

void Center(const float* x, int64_t n, float* out) {
  const V sums = fold(
      x, n, hn::Zero(d), [](V v) { return v; }, [](V a, V b) { return hn::Add(a, b); });
  const V mean = hn::Set(d, hn::GetLane(hn::SumOfLanes(d, sums)) / static_cast<float>(n));
  transform(x, x, n, out, [mean](V v, V) { return hn::Sub(v, mean); });
}

void RotateNeighbours(float* head, const float* cos, const float* sin, int64_t half) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    V a, b;
    hn::LoadInterleaved2(d, head + 2 * i, a, b);
    const V c = hn::LoadU(d, cos + i), s = hn::LoadU(d, sin + i);
    hn::StoreInterleaved2(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), hn::Add(hn::Mul(b, c), hn::Mul(a, s)), d,
                          head + 2 * i);
  }
  for (; i < half; ++i) {
    const float a = head[2 * i], b = head[2 * i + 1];
    head[2 * i] = a * cos[i] - b * sin[i];
    head[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

}  // namespace
}  // namespace mxq::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mxq {

HWY_EXPORT(RmsNorm);
HWY_EXPORT(Center);
HWY_EXPORT(Dot);
HWY_EXPORT(AddRmsNormGradient);
HWY_EXPORT(Softmax);
HWY_EXPORT(SoftmaxBf16);
HWY_EXPORT(Add);
HWY_EXPORT(RotatePairs);
HWY_EXPORT(RotateNeighbours);
HWY_EXPORT(LogSumExp);
HWY_EXPORT(Divergence);
HWY_EXPORT(SiluMultiply);
HWY_EXPORT(GeluMultiply);
HWY_EXPORT(ClampedMultiply);
HWY_EXPORT(SoftCap);
HWY_EXPORT(ToBf16);

float rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  return HWY_DYNAMIC_DISPATCH(RmsNorm)(x, weight, eps, n, out);
}
void add_rms_norm_gradient(const float* x, const float* weight, float eps, const float* outer, int64_t n,
                           float* gradient) {
  HWY_DYNAMIC_DISPATCH(AddRmsNormGradient)(x, weight, eps, outer, n, gradient);
}
void center(const float* x, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(Center)(x, n, out);
}
float dot(const float* x, const float* y, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(Dot)(x, y, n);
}
void softmax(float* row, float scale, int64_t n) {
  HWY_DYNAMIC_DISPATCH(Softmax)(row, scale, n);
}
float softmax_bf16(const float* row, float scale, int64_t n, uint16_t* out) {
  return HWY_DYNAMIC_DISPATCH(SoftmaxBf16)(row, scale, n, out);
}
void add(float* x, const float* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(Add)(x, y, n);
}
void rotate_pairs(float* head, const float* cos, const float* sin, int64_t half) {
  HWY_DYNAMIC_DISPATCH(RotatePairs)(head, cos, sin, half);
}
void rotate_neighbours(float* head, const float* cos, const float* sin, int64_t half) {
  HWY_DYNAMIC_DISPATCH(RotateNeighbours)(head, cos, sin, half);
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
void gelu_multiply(float* gate, const float* up, int64_t n) {
  HWY_DYNAMIC_DISPATCH(GeluMultiply)(gate, up, n);
}
void clamped_multiply(float* gate, const float* up, int64_t n) {
  HWY_DYNAMIC_DISPATCH(ClampedMultiply)(gate, up, n);
}
void soft_cap(float* row, float scale, float cap, int64_t n) {
  HWY_DYNAMIC_DISPATCH(SoftCap)(row, scale, cap, n);
}
void to_bf16(const float* x, int64_t n, uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(ToBf16)(x, n, out);
}

namespace ref {

void center(const float* x, int64_t n, float* out) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(x[i] - mean);
}

void add_rms_norm_gradient(const float* x, const float* weight, float eps, const float* outer, int64_t n,
                           float* gradient) {
  double squares = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    squares += static_cast<double>(x[i]) * x[i];
    sum += static_cast<double>(weight[i]) * outer[i] * x[i];
  }
  const auto count = static_cast<double>(n);
  const double scale = 1 / std::sqrt(squares / count + eps), back = sum * scale * scale * scale / count;
  for (int64_t i = 0; i < n; ++i) {
    gradient[i] += static_cast<float>(scale * weight[i] * outer[i] - x[i] * back);
  }
}

float dot(const float* x, const float* y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * y[i];
  return static_cast<float>(sum);
}

float rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
  // Sums are fp32's.
  if (squares > std::numeric_limits<float>::max()) squares = std::numeric_limits<double>::infinity();
  const double mean = squares / static_cast<double>(n), scale = 1 / std::sqrt(mean + eps);
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(x[i] * scale * weight[i]);
  return static_cast<float>(mean);
}

void softmax(float* row, float scale, int64_t n) {
  const double max = *std::max_element(row, row + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(scale * (row[i] - max));
  for (int64_t i = 0; i < n; ++i) row[i] = static_cast<float>(std::exp(scale * (row[i] - max)) / sum);
}

float softmax_bf16(const float* row, float scale, int64_t n, uint16_t* out) {
  const double max = *std::max_element(row, row + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double power = std::exp(scale * (row[i] - max));
    out[i] = bf16_from_f32(static_cast<float>(power));
    sum += power;
  }
  return static_cast<float>(sum);
}

float log_sum_exp(const float* row, int64_t n) {
  const double max = *std::max_element(row, row + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(row[i] - max);
  return static_cast<float>(max + std::log(sum));
}

RowDivergence row_divergence(const float* base, const float* other, int64_t n) {
  RowDivergence result;
  result.base_top = std::max_element(base, base + n) - base;
  result.other_top = std::max_element(other, other + n) - other;
  const double base_max = base[result.base_top], other_max = other[result.other_top];
  const auto below = [](double x, double max) {  // as far as fp32 reaches
    const double distance = x - max;
    return distance < -std::numeric_limits<float>::max() ? -std::numeric_limits<double>::infinity() : distance;
  };
  double base_sum = 0, other_sum = 0, difference = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double b = below(base[i], base_max), o = below(other[i], other_max), p = std::exp(b);
    base_sum += p;
    other_sum += std::exp(o);
    if (static_cast<float>(p) != 0) difference += p * (b - o);
  }
  result.base_log_sum = base_max + std::log(base_sum);
  result.other_log_sum = other_max + std::log(other_sum);
  result.kl = std::max(difference / base_sum - std::log(base_sum / other_sum), 0.0);
  return result;
}

void add(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] += y[i];
}

void silu_multiply(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    gate[i] = static_cast<float>(gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i]);
  }
}

void gelu_multiply(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = gate[i], y = std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g);
    gate[i] = static_cast<float>(g / (1 + std::exp(-2 * y)) * up[i]);
  }
}

void clamped_multiply(float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = gate[i] > kClampedLimit ? kClampedLimit : gate[i];
    const double u = up[i] > kClampedLimit ? kClampedLimit : up[i] < -kClampedLimit ? -kClampedLimit : up[i];
    gate[i] = static_cast<float>(g / (1 + std::exp(-kClampedScale * g)) * (u + 1));
  }
}

void soft_cap(float* row, float scale, float cap, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    row[i] = static_cast<float>(cap * std::tanh(static_cast<double>(scale) * row[i] / cap));
  }
}

void rotate_neighbours(float* head, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const double a = head[2 * i], b = head[2 * i + 1];
    head[2 * i] = static_cast<float>(a * cos[i] - b * sin[i]);
    head[2 * i + 1] = static_cast<float>(b * cos[i] + a * sin[i]);
  }
}

void rotate_pairs(float* head, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const double a = head[i], b = head[half + i];
    head[i] = static_cast<float>(a * cos[i] - b * sin[i]);
    head[half + i] = static_cast<float>(b * cos[i] + a * sin[i]);
  }
}

void to_bf16(const float* x, int64_t n, uint16_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = bf16_from_f32(x[i]);
}

}  // namespace ref

}  // namespace mxq
#endif  // HWY_ONCE
