// Scalar twins of the tile kernels: one lane after the other. The SIMD ones must give the same bits.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/affine_tile.h"

namespace mxq::ref {

namespace {

/// The larger of both, of NaN and another the other: std::max would keep a NaN that comes first.
float at_least(float x, float least) {
  return x > least ? x : least;
}

/// Adding and subtracting 1.5 * 2^23 rounds |x| < 2^22 half to even. NaN becomes 0.
float round_code(float x, float max_code) {
  constexpr float magic = 12582912.0f;
  const float clamped = std::min(at_least(x, 0.0f), max_code);
  return (clamped + magic) - magic;
}

float inverse_or_zero(float scale) {
  return scale >= kSmallestScale ? 1.0f / scale : 0.0f;
}

/// x^-0.3 for 0.17 < x <= 1e6: an estimate from the float's bits, which are nearly its logarithm, and Newton's steps
/// for y^10 x^3 = 1. No library call, so that SIMD does the same; within 1e-6 of the power.
float power_minus_0_3(float x) {
  const auto log = static_cast<float>(std::bit_cast<int32_t>(x));
  float y = std::bit_cast<float>(static_cast<int32_t>(1384468480.0f - 0.3f * log));
  const float x3 = x * x * x;
  for (int step = 0; step < 4; ++step) {
    const float y2 = y * y, y4 = y2 * y2, y8 = y4 * y4;
    y = y + (y * 0.1f) * (1.0f - (x3 * y2) * y8);
  }
  return y;
}

/// sign(e) * max(|e| - |e|^(p-1) / beta, 0), p = 0.7, beta = 10: zero unless |e|^1.3 > 0.1. Beyond 1e6 the subtrahend
/// is below the last bit of |e|.
float shrink(float error) {
  constexpr float threshold = 0.1701f;  // just under 0.1^(1/1.3) = 0.17013
  const float magnitude = std::fabs(error);
  if (!(magnitude > threshold)) return 0.0f;
  const float shrunk = std::max(magnitude - 0.1f * power_minus_0_3(std::min(magnitude, 1e6f)), 0.0f);
  return std::copysign(shrunk, error);
}

/// One group of a tile.
struct Lane {
  const float* tile;
  int n;
  float operator[](int i) const { return tile[i * kTileLanes]; }
};

/// Sums of one pass over a group, in units of the scale: t = w / s + z, r = t - q.
struct PassSums {
  float r = 0, rq = 0, q = 0, qq = 0, rr = 0;
};

PassSums pass(Lane w, const float* weights, float max_code, float inverse, float zero) {
  PassSums sums;
  for (int i = 0; i < w.n; ++i) {
    const float t = w[i] * inverse + zero;
    const float q = round_code(t, max_code);
    const float r = t - q;
    const float hr = weights != nullptr ? weights[i] * r : r, hq = weights != nullptr ? weights[i] * q : q;
    sums.r += hr;
    sums.rq += hr * q;
    sums.q += hq;
    sums.qq += hq * q;
    sums.rr += hr * r;
  }
  return sums;
}

/// What sums of 1 over a group come to.
float total_weight(const float* weights, int n) {
  if (weights == nullptr) return static_cast<float>(n);
  float sum = 0;
  for (int i = 0; i < n; ++i) sum += weights[i];
  return sum;
}

/// Least squares of t on q: t ~ alpha + (1 + delta) q.
struct Regression {
  float alpha, delta;
};

Regression regress(const PassSums& sums, float n) {
  const float det = n * sums.qq - sums.q * sums.q;
  const float numerator = n * sums.rq - sums.q * sums.r;
  // All codes equal: only the offset can move. A slope below 1/8 would be noise.
  const float delta = det > 0.0f ? at_least(numerator / det, -0.875f) : 0.0f;
  return {(sums.r - delta * sums.q) / n, delta};
}

float squared_error(Lane w, const float* weights, float max_code, float scale, float zero) {
  const float inverse = inverse_or_zero(scale);
  float sum = 0;
  for (int i = 0; i < w.n; ++i) {
    const float q = round_code(w[i] * inverse + zero, max_code);
    const float d = w[i] - (q - zero) * scale;
    sum += (weights != nullptr ? weights[i] * d : d) * d;
  }
  return sum;
}

}  // namespace

void tile_load_groups(const float* const* groups, int n, float* tile) {
  for (int i = 0; i < n; ++i) {
    for (int l = 0; l < kTileLanes; ++l) tile[i * kTileLanes + l] = groups[l][i];
  }
}

void tile_load_columns(const float* first, int64_t stride, int lanes, int n, float* tile) {
  for (int i = 0; i < n; ++i) {
    for (int l = 0; l < kTileLanes; ++l) tile[i * kTileLanes + l] = first[i * stride + std::min(l, lanes - 1)];
  }
}

void tile_min_max(const float* tile, int n, float* min, float* max) {
  for (int l = 0; l < kTileLanes; ++l) {
    min[l] = max[l] = tile[l];
    for (int i = 1; i < n; ++i) {
      min[l] = std::min(min[l], tile[i * kTileLanes + l]);
      max[l] = std::max(max[l], tile[i * kTileLanes + l]);
    }
  }
}

void tile_hqq_rounds(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero, int rounds,
                     float* zeros, float* errors) {
  for (int l = 0; l < kTileLanes; ++l) {
    const Lane w{tile + l, n};
    const float inverse = inverse_scale[l];
    const float scale = 1.0f / inverse;
    float z = zero[l];
    for (int round = 0; round < rounds; ++round) {
      float sum = 0, error = 0;
      for (int i = 0; i < n; ++i) {
        const float scaled = w[i] * inverse;
        const float q = round_code(scaled + z, static_cast<float>(max_code));
        const float e = w[i] - (q - z) * scale;
        error += std::fabs(e);
        const float shrunk = shrink(e);
        sum += q - (shrunk == 0.0f ? scaled : (w[i] - shrunk) * inverse);
      }
      z = sum / static_cast<float>(n);
      zeros[round * kTileLanes + l] = z;
      errors[round * kTileLanes + l] = error;
    }
  }
}

void tile_fit_mse(const float* tile, const float* weights, int n, int max_code, const float* min, const float* max,
                  const LeastSquaresSearch& search, float* scale, float* center) {
  const float top = static_cast<float>(max_code), middle = 0.5f * top, count = total_weight(weights, n);
  for (int l = 0; l < kTileLanes; ++l) {
    const Lane w{tile + l, n};
    const float half_range = 0.5f * max[l] - 0.5f * min[l];
    const float mid = 0.5f * max[l] + 0.5f * min[l];
    const float full = half_range / middle;
    if (full < kSmallestRange) {
      scale[l] = 0;
      center[l] = mid;
      continue;
    }
    float best_s = full, best_z = 0, best_error = std::numeric_limits<float>::max();
    // A round: codes given (s, z), then (s, z) given the codes; returns the error in units of full^2.
    const auto round = [&](float& s, float& z) {
      const PassSums sums = pass(w, weights, top, 1.0f / s, z);
      const Regression fit = regress(sums, count);
      const float slope = 1.0f + fit.delta;
      const float relative = s / full;
      const float error = (relative * relative) * at_least(sums.rr - (fit.alpha * sums.r + fit.delta * sums.rq), 0.0f);
      s *= slope;
      z = (z - fit.alpha) / slope;
      return error;
    };
    const auto consider = [&](float s, float z, int rounds, bool first) {
      float error = 0;
      for (int k = 0; k < rounds; ++k) error = round(s, z);
      if (!first && !(error < best_error)) return;
      best_s = s;
      best_z = z;
      best_error = error;
    };
    for (int k = 0; k < search.starts; ++k) {
      const float s = full * search.shrinks[k];
      consider(s, middle - mid / s, search.rounds_per_start, k == 0);
    }
    const float around_s = best_s, around_z = best_z;
    for (int k = 0; k < search.nudge_count; ++k) {
      const float s = around_s * search.nudges[k];
      consider(s, middle - (middle - around_z) / search.nudges[k], search.rounds_per_nudge, false);
    }
    for (int k = 0; k < search.rounds; ++k) {
      const float before = best_error;
      best_error = round(best_s, best_z);
      if (!(before - best_error > search.tolerance * before)) break;
    }
    scale[l] = best_s;
    center[l] = (middle - best_z) * best_s;
  }
}

void tile_fit_bounded(const float* tile, const float* weights, int n, int max_code, const MetadataRange& range,
                      int rounds, float* scale, float* center) {
  const float top = static_cast<float>(max_code), middle = 0.5f * top, count = total_weight(weights, n);
  for (int l = 0; l < kTileLanes; ++l) {
    if (scale[l] <= range.scale_limit && std::fabs(center[l]) <= range.offset_limit * scale[l]) continue;
    const Lane w{tile + l, n};
    float s = scale[l], c = center[l];
    // The far end of the codes' span stays where it is when the centre cannot be that far out in units of s.
    const auto bound = [&] {
      s = std::max(s, (std::fabs(c) + middle * s) / (range.offset_limit + middle));
      s = std::min(s, range.scale_limit);
      const float reach = range.offset_limit * s;
      c = std::min(std::max(c, -reach), reach);
    };
    if (std::fabs(c) <= range.offset_limit * s) {
      s = std::min(s, range.scale_limit);
      const float reach = range.offset_limit * s;
      c = std::min(std::max(c, -reach), reach);
    } else {
      bound();
    }
    for (int k = 0; k < rounds; ++k) {
      if (s < kSmallestScale) break;
      const float z = middle - c / s;
      const PassSums sums = pass(w, weights, top, 1.0f / s, z);
      const Regression fit = regress(sums, count);
      const float slope = 1.0f + fit.delta;
      float next = s * slope, moved = (z - fit.alpha) / slope;
      if (next > range.scale_limit) {
        // s is held at its limit: the best zero for the codes is mean(q) - mean(w) / s, mean(w) = mean(t - z) * s_old.
        next = range.scale_limit;
        const float mean_q = sums.q / count;
        moved = mean_q - ((mean_q + sums.r / count) - z) * (s / next);
      }
      float offset = middle - moved;
      if (!(std::fabs(offset) <= range.offset_limit)) {  // or is NaN, where sums overflowed
        // z is held at its limit: s from sum w (q - z) / sum (q - z)^2, with w / s_old = r + q - z_old.
        offset = std::copysign(range.offset_limit, offset);
        const float held = middle - offset;
        const float qq = (sums.qq - (held + held) * sums.q) + count * (held * held);
        const float wq = (sums.rq + sums.qq - z * sums.q) - held * ((sums.r + sums.q) - count * z);
        next = qq > 0.0f ? std::min(at_least(s * (wq / qq), 0.125f * s), range.scale_limit) : s;
      }
      s = next;
      c = offset * s;
    }
    scale[l] = s;
    center[l] = c;
  }
}

void tile_snap(const float* tile, const float* weights, int n, int max_code, const MetadataSteps& steps,
               const SnapSearch& search, const float* scale, const float* center, uint8_t* scale_codes,
               int8_t* zero_codes, float* error) {
  const float top = static_cast<float>(max_code), middle = 0.5f * top;
  for (int l = 0; l < kTileLanes; ++l) {
    const Lane w{tile + l, n};
    const float scale_step = steps.scale[l], zero_step = steps.zero[l];
    const float per_scale_step = inverse_or_zero(scale_step), per_zero_step = inverse_or_zero(zero_step);
    float best_u = 0, best_i = 0, best_error = 0;
    const auto offset_code = [&](float u) {
      const float k = center[l] * inverse_or_zero(u * scale_step) * per_zero_step;
      const float clamped = std::min(at_least(k, -127.0f), 127.0f);
      return (clamped + 12582912.0f) - 12582912.0f;
    };
    const auto evaluate = [&](float u, float i) {
      return squared_error(w, weights, top, u * scale_step, middle - zero_step * i);
    };
    const auto consider = [&](float u, float i) {
      const float e = evaluate(u, i);
      if (e < best_error) {
        best_u = u;
        best_i = i;
        best_error = e;
      }
    };
    best_u = round_code(scale[l] * per_scale_step, 255.0f);
    best_i = offset_code(best_u);
    best_error = evaluate(best_u, best_i);
    const float u = best_u;
    for (int k = 1; k <= search.scale_reach; ++k) {
      const float up = std::min(u + static_cast<float>(k), 255.0f), down = std::max(u - static_cast<float>(k), 0.0f);
      consider(up, offset_code(up));
      consider(down, offset_code(down));
    }
    const float i = best_i, u_best = best_u;
    for (int k = 1; k <= search.zero_reach; ++k) {
      const auto move = static_cast<float>(k * search.zero_stride);
      consider(u_best, std::min(i + move, 127.0f));
      consider(u_best, std::max(i - move, -127.0f));
    }
    scale_codes[l] = static_cast<uint8_t>(best_u);
    zero_codes[l] = static_cast<int8_t>(best_i);
    error[l] = best_error;
  }
}

void tile_codes(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero, uint8_t* codes) {
  for (int i = 0; i < n; ++i) {
    for (int l = 0; l < kTileLanes; ++l) {
      const float t = tile[i * kTileLanes + l] * inverse_scale[l] + zero[l];
      codes[i * kTileLanes + l] = static_cast<uint8_t>(round_code(t, static_cast<float>(max_code)));
    }
  }
}

void tile_squared_error(const float* tile, int n, int max_code, const float* inverse_scale, const float* scale,
                        const float* zero, double* error) {
  for (int l = 0; l < kTileLanes; ++l) {
    double sum = 0;
    for (int i = 0; i < n; ++i) {
      const float w = tile[i * kTileLanes + l];
      const float q = round_code(w * inverse_scale[l] + zero[l], static_cast<float>(max_code));
      const double d = static_cast<double>(w) - static_cast<double>((q - zero[l]) * scale[l]);
      sum += d * d;
    }
    error[l] = sum;
  }
}

}  // namespace mxq::ref
