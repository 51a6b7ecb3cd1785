#include "schemes/ggml/block_fitter.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/half.h"
#include "kernels/grid_tile.h"
#include "schemes/affine/fit.h"

namespace mxq::ggml {

namespace {

/// Scales that are tried, times the one that spans the largest weight; then rounds of least squares from the best.
constexpr float kSpans[] = {0.70f, 0.76f, 0.81f, 0.86f, 0.90f, 0.94f, 0.97f, 1.0f, 1.04f, 1.10f};
constexpr int kRounds = 3;
/// How often d and m are solved for at most.
constexpr int kSolves = 3;

float to_half(float x) {
  return f32_from_f16(f16_from_f32(x));
}

float inverse_or_zero(float scale) {
  return std::fabs(scale) >= kSmallestScale ? 1 / scale : 0;
}

/// Normal weights reach 127 at this many times their root mean square or so.
constexpr float kUnit = 1.0f / 48;

TileLevels iq4_levels(float unit) {
  std::vector<float> levels;
  for (const int8_t level : kIq4Levels) levels.push_back(unit * static_cast<float>(level));
  return codebook::tile_levels(levels);
}

int nearest(float x, int least, int most) {
  return static_cast<int>(std::clamp(std::nearbyint(x), static_cast<float>(least), static_cast<float>(most)));
}

}  // namespace

BlockFitter::BlockFitter(const Type& type)
    : type_(type), levels_(iq4_levels(1)), unit_levels_(iq4_levels(kUnit)), level_fitter_(unit_levels_, type.group) {}

void BlockFitter::fit(const float* tile, const float* weights) {
  for (int g = 0; g < type_.groups(); ++g) fit_alone(g, group_tile(tile, g), group_weights(weights, g));
  span_groups();
  for (int solves = 0;; ++solves) {
    for (int g = 0; g < type_.groups(); ++g) {
      snap(g, group_tile(tile, g), group_weights(weights, g), solves == 0 ? From::wanted : From::taken);
    }
    if (type_.scale_limit == 0 || solves == kSolves || !solve(tile, weights)) break;
  }
  for (int l = 0; l < kTileLanes; ++l) {
    blocks_[l].d = f16_from_f32(d_[l]);
    blocks_[l].m = f16_from_f32(m_[l]);
  }
}

void BlockFitter::refit(int g, const float* tile, const float* weights) {
  if (type_.scale_limit == 0) return;
  fit_alone(g, tile, weights);
  snap(g, tile, weights, From::wanted);
}

void BlockFitter::fit_alone(int g, const float* tile, const float* weights) {
  switch (type_.kind) {
    case Type::Kind::affine:
      return fit_affine(g, tile, weights);
    case Type::Kind::symmetric:
      return fit_symmetric(g, tile, weights);
    case Type::Kind::levels:
      level_fitter_.load(tile, weights, type_.group);
      level_fitter_.fit(wanted_scale_[g]);
      for (float& scale : wanted_scale_[g]) scale *= kUnit;
      std::fill_n(wanted_offset_[g], kTileLanes, 0.0f);
  }
}

void BlockFitter::fit_affine(int g, const float* tile, const float* weights) {
  const int most = type_.max_code();
  const bool free = type_.min_limit == 0;  // offsets of either sign
  alignas(64) float min[kTileLanes], max[kTileLanes], center[kTileLanes];
  tile_min_max(tile, type_.group, min, max);
  for (int l = 0; l < kTileLanes && !free; ++l) {
    min[l] = std::min(min[l], 0.0f);
    max[l] = std::max(max[l], min[l]);
  }
  tile_fit_mse(tile, weights, type_.group, most, min, max, affine::kThoroughSearch, wanted_scale_[g], center);
  for (int l = 0; l < kTileLanes; ++l) {
    const float middle = 0.5f * static_cast<float>(most);
    if (wanted_scale_[g][l] == 0) {  // all the same: code 0 with an offset, or the largest one without
      wanted_scale_[g][l] = std::fabs(center[l]) / static_cast<float>(most);
      wanted_offset_[g][l] = free ? center[l] : std::min(center[l], 0.0f);
      continue;
    }
    float offset = center[l] - middle * wanted_scale_[g][l];
    if (!free && offset > 0) {  // such offsets there are none
      offset = 0;
      wanted_scale_[g][l] = max[l] / static_cast<float>(most);
    }
    wanted_offset_[g][l] = offset;
  }
}

void BlockFitter::fit_symmetric(int g, const float* tile, const float* weights) {
  const int most = type_.max_code();
  const auto span = static_cast<float>(type_.zero);
  alignas(64) float min[kTileLanes], max[kTileLanes], zero[kTileLanes], inverse[kTileLanes];
  alignas(64) float codes[kTileLanes], squares[kTileLanes], with[kTileLanes], best[kTileLanes];
  tile_min_max(tile, type_.group, min, max);
  std::fill_n(zero, kTileLanes, span);
  std::fill_n(best, kTileLanes, -1.0f);
  float* const scale = wanted_scale_[g];
  std::fill_n(scale, kTileLanes, 0.0f);
  const auto look = [&] {
    tile_grid_sums(tile, weights, type_.group, most, inverse, zero, zero, codes, squares, with);
    bool gained = false;
    for (int l = 0; l < kTileLanes; ++l) {
      if (!(squares[l] > 0)) continue;
      const float gain = with[l] * with[l] / squares[l];  // by which the error is below that of zeros
      if (!(gain > best[l])) continue;
      best[l] = gain;
      scale[l] = with[l] / squares[l];
      gained = true;
    }
    return gained;
  };
  // Codes reach one further below zero than above: either sign may fit better.
  for (const float sign : {1.0f, -1.0f}) {
    for (const float factor : kSpans) {
      for (int l = 0; l < kTileLanes; ++l) {
        inverse[l] = inverse_or_zero(sign * factor * std::max(std::fabs(min[l]), std::fabs(max[l])) / span);
      }
      look();
    }
  }
  for (int round = 0; round < kRounds; ++round) {
    for (int l = 0; l < kTileLanes; ++l) inverse[l] = inverse_or_zero(scale[l]);
    if (!look()) break;
  }
  std::fill_n(wanted_offset_[g], kTileLanes, 0.0f);
}

void BlockFitter::span_groups() {
  for (int l = 0; l < kTileLanes; ++l) {
    if (type_.scale_limit == 0) {
      d_[l] = to_half(wanted_scale_[0][l]);
      m_[l] = to_half(wanted_offset_[0][l]);
      continue;
    }
    float scale = 0, least = 0;
    for (int g = 0; g < type_.groups(); ++g) {
      if (std::fabs(wanted_scale_[g][l]) > std::fabs(scale)) scale = wanted_scale_[g][l];
      least = std::min(least, wanted_offset_[g][l]);
    }
    const auto limit = static_cast<float>(type_.scale_limit);
    d_[l] = to_half(type_.signed_scales ? -scale / limit : scale / limit);
    m_[l] = type_.min_limit > 0 ? to_half(-least / static_cast<float>(type_.min_limit)) : 0;
  }
}

void BlockFitter::take_over(int g) {
  for (int l = 0; l < kTileLanes; ++l) {
    const GgmlBlock& block = blocks_[l];
    const bool several = type_.scale_limit > 0;
    scale_[g][l] = several ? d_[l] * static_cast<float>(block.scales[g]) : d_[l];
    inverse_[g][l] = inverse_or_zero(scale_[g][l]);
    if (type_.kind == Type::Kind::symmetric) {
      zero_[g][l] = static_cast<float>(type_.zero);
    } else if (type_.kind == Type::Kind::affine) {
      const float offset = several ? -(m_[l] * static_cast<float>(block.mins[g])) : m_[l];
      zero_[g][l] = -offset * inverse_[g][l];
    }
  }
}

void BlockFitter::errors(int g, const float* tile, const float* weights, float* error) const {
  if (type_.kind != Type::Kind::levels) {
    return tile_grid_error(tile, weights, type_.group, type_.max_code(), inverse_[g], scale_[g], zero_[g], error);
  }
  // Less what zeros would cost, which is the same for all scales.
  alignas(64) float with[kTileLanes], of[kTileLanes];
  tile_level_sums(tile, weights, type_.group, levels_, inverse_[g], with, of);
  for (int l = 0; l < kTileLanes; ++l) error[l] = scale_[g][l] * (scale_[g][l] * of[l] - 2 * with[l]);
}

void BlockFitter::snap(int g, const float* tile, const float* weights, From from) {
  if (type_.scale_limit == 0) {
    take_over(g);
    return errors(g, tile, weights, error_[g]);
  }
  const int most_scale = type_.signed_scales ? type_.scale_limit - 1 : type_.scale_limit;
  const int least_scale = type_.signed_scales ? -type_.scale_limit : 0;
  int8_t scales[kTileLanes], mins[kTileLanes], best_scales[kTileLanes], best_mins[kTileLanes];
  for (int l = 0; l < kTileLanes; ++l) {
    if (from == From::wanted) {
      scales[l] = static_cast<int8_t>(nearest(wanted_scale_[g][l] * inverse_or_zero(d_[l]), least_scale, most_scale));
      mins[l] = static_cast<int8_t>(nearest(-wanted_offset_[g][l] * inverse_or_zero(m_[l]), 0, type_.min_limit));
    } else {
      scales[l] = blocks_[l].scales[g];
      mins[l] = blocks_[l].mins[g];
    }
    best_scales[l] = scales[l];
    best_mins[l] = mins[l];
  }
  std::fill_n(error_[g], kTileLanes, std::numeric_limits<float>::infinity());
  const int reach = type_.min_limit > 0 ? 1 : 0;
  alignas(64) float error[kTileLanes];
  for (int s = -1; s <= 1; ++s) {
    for (int m = -reach; m <= reach; ++m) {
      for (int l = 0; l < kTileLanes; ++l) {
        blocks_[l].scales[g] = static_cast<int8_t>(std::clamp(scales[l] + s, least_scale, most_scale));
        // An offset takes a scale: else the group is zeros (take_over() knows no other).
        const bool zeros = blocks_[l].scales[g] == 0;
        blocks_[l].mins[g] = static_cast<int8_t>(zeros ? 0 : std::clamp(mins[l] + m, 0, type_.min_limit));
      }
      take_over(g);
      errors(g, tile, weights, error);
      for (int l = 0; l < kTileLanes; ++l) {
        if (!(error[l] < error_[g][l])) continue;
        error_[g][l] = error[l];
        best_scales[l] = blocks_[l].scales[g];
        best_mins[l] = blocks_[l].mins[g];
      }
    }
  }
  for (int l = 0; l < kTileLanes; ++l) {
    blocks_[l].scales[g] = best_scales[l];
    blocks_[l].mins[g] = best_mins[l];
  }
  take_over(g);
}

bool BlockFitter::solve(const float* tile, const float* weights) {
  // Of sum h (w - d s c + m k)^2 over all groups, with scale codes s, codes c and min codes k:
  double ss[kTileLanes] = {}, sk[kTileLanes] = {}, kk[kTileLanes] = {}, sw[kTileLanes] = {}, kw[kTileLanes] = {};
  double before[kTileLanes] = {}, after[kTileLanes] = {};
  alignas(64) float codes[kTileLanes], squares[kTileLanes], with[kTileLanes];
  for (int g = 0; g < type_.groups(); ++g) {
    const float* const x = group_tile(tile, g);
    const float* const h = group_weights(weights, g);
    float all = 0;
    float sums[kTileLanes] = {};  // of h w
    if (type_.kind == Type::Kind::levels) {
      tile_level_sums(x, h, type_.group, levels_, inverse_[g], with, squares);
    } else {
      const float none[kTileLanes] = {};
      tile_grid_sums(x, h, type_.group, type_.max_code(), inverse_[g], zero_[g],
                     type_.kind == Type::Kind::symmetric ? zero_[g] : none, codes, squares, with);
      for (int i = 0; i < type_.group && type_.min_limit > 0; ++i) {
        const float each = h == nullptr ? 1 : h[i];
        all += each;
        for (int l = 0; l < kTileLanes; ++l) sums[l] += each * x[i * kTileLanes + l];
      }
    }
    for (int l = 0; l < kTileLanes; ++l) {
      const double s = blocks_[l].scales[g], k = blocks_[l].mins[g];
      ss[l] += s * s * squares[l];
      sw[l] += s * with[l];
      before[l] += error_[g][l];
      if (type_.min_limit == 0) continue;
      sk[l] += s * k * codes[l];
      kk[l] += k * k * all;
      kw[l] += k * sums[l];
    }
  }
  float old_d[kTileLanes], old_m[kTileLanes];
  for (int l = 0; l < kTileLanes; ++l) {
    old_d[l] = d_[l];
    old_m[l] = m_[l];
    const double det = ss[l] * kk[l] - sk[l] * sk[l];
    if (type_.min_limit > 0 && det > 1e-9 * ss[l] * kk[l]) {
      const double d = (sw[l] * kk[l] - kw[l] * sk[l]) / det, m = (sw[l] * sk[l] - kw[l] * ss[l]) / det;
      if (d > 0 && m >= 0) {
        d_[l] = to_half(static_cast<float>(d));
        m_[l] = to_half(static_cast<float>(m));
      }
    } else if (ss[l] > 0) {
      // Of affine blocks: m stays, with what it takes off the weights.
      const double d = (sw[l] + m_[l] * sk[l]) / ss[l];
      if (d > 0 || type_.signed_scales) d_[l] = to_half(static_cast<float>(d));
    }
  }
  alignas(64) float error[kGgmlGroups][kTileLanes];
  for (int g = 0; g < type_.groups(); ++g) {
    take_over(g);
    errors(g, group_tile(tile, g), group_weights(weights, g), error[g]);
    for (int l = 0; l < kTileLanes; ++l) after[l] += error[g][l];
  }
  bool gained = false;
  for (int l = 0; l < kTileLanes; ++l) {
    if (after[l] < before[l]) {
      gained = true;
    } else {
      d_[l] = old_d[l];
      m_[l] = old_m[l];
    }
  }
  for (int g = 0; g < type_.groups(); ++g) take_over(g);
  return gained;
}

}  // namespace mxq::ggml
