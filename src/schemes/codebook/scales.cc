#include "schemes/codebook/scales.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/half.h"
#include "base/parallel.h"
#include "schemes/affine/metadata.h"
#include "schemes/part_bytes.h"

namespace mxq::codebook {

namespace {

constexpr float kLargestHalf = 65504.0f;
/// A block whose largest scale is this many times the median is looked at more closely.
constexpr float kOutlier = 6.0f;

/// Times the root mean square; rounds from each.
constexpr double kStarts[] = {1.0, 0.85, 1.2};
constexpr int kRounds = 6;

float as_float(double value) {
  return static_cast<float>(std::min(value, double{std::numeric_limits<float>::max()}));
}

/// body(block, its data loaded) for the matrix's blocks of kGroupsPerStep groups, in parallel.
template <typename Body>
void for_blocks(MatrixView matrix, const groups::Grouping& grouping, const Body& body) {
  parallel_for(grouping.blocks(), [&](int64_t index) {
    groups::Block block;
    const auto data = groups::allocate_floats(groups::plan_block(grouping, index, block));
    block.data = data.get();
    groups::load_block(matrix, grouping, block);
    body(block);
  });
}

/// What the largest of a block's scales asks for, or where that dwarfs the others a smaller limit, to which larger
/// scales are cut, if the block's error falls.
uint16_t choose_step(const groups::Block& block, std::span<const float> scales, ScaleFitter& fitter) {
  const float largest = *std::max_element(scales.begin(), scales.end());
  std::vector<float> sorted(scales.begin(), scales.end());
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<int64_t>(sorted.size() / 2), sorted.end());
  const float median = sorted[sorted.size() / 2];
  uint16_t best = f16_at_least(largest / 255);
  if (largest <= kOutlier * median) return best;
  double least = std::numeric_limits<double>::infinity();
  for (float limit = largest; limit >= std::max(median, kSmallestCodebookScale); limit *= 0.5f) {
    const uint16_t half = f16_at_least(limit / 255);
    const float step = f32_from_f16(half);
    double sum = 0;
    for (int t = 0; t < block.tile_count; ++t) {
      const groups::Tile& tile = block.tiles[t];
      float stored[kTileLanes] = {};
      for (int l = 0; l < tile.lanes; ++l) {
        stored[l] = step * std::min(std::nearbyint(scales[tile.group[l]] / step), 255.0f);
      }
      double errors[kTileLanes];
      fitter.load(block.tile_data(t), nullptr, tile.n);
      fitter.errors(stored, errors);
      for (int l = 0; l < tile.lanes; ++l) sum += errors[l];
    }
    if (sum < least) {
      least = sum;
      best = half;
    }
  }
  return best;
}

}  // namespace

TileLevels tile_levels(std::span<const float> levels) {
  TileLevels result;
  result.count = static_cast<int>(levels.size());
  std::copy(levels.begin(), levels.end(), result.level);
  for (size_t i = 0; i + 1 < levels.size(); ++i) result.midpoint[i] = 0.5f * (levels[i] + levels[i + 1]);
  return result;
}

ScaleFitter::ScaleFitter(const TileLevels& levels, int64_t group)
    : levels_(levels), tile_(groups::allocate_floats(group * kTileLanes)) {}

void ScaleFitter::load(const float* tile, const float* weights, int n) {
  weights_ = weights;
  n_ = n;
  double sums[kTileLanes] = {};
  for (int i = 0; i < n; ++i) {
    for (int l = 0; l < kTileLanes; ++l) {
      const double w = tile[i * kTileLanes + l];
      sums[l] += w * w;
    }
  }
  float inverse[kTileLanes];
  for (int l = 0; l < kTileLanes; ++l) {
    rms_[l] = std::sqrt(sums[l] / n);
    if (!std::isfinite(rms_[l])) rms_[l] = 0;  // feedback overflowed: no scale would do
    inverse[l] = rms_[l] < kSmallestCodebookScale ? 0 : static_cast<float>(1 / rms_[l]);
  }
  double squares[kTileLanes] = {};
  for (int i = 0; i < n; ++i) {
    const double weight = weights != nullptr ? weights[i] : 1;
    for (int l = 0; l < kTileLanes; ++l) {
      const float t = tile[i * kTileLanes + l] * inverse[l];
      tile_[static_cast<size_t>(i * kTileLanes + l)] = t;
      squares[l] += weight * t * t;
    }
  }
  std::copy_n(squares, kTileLanes, squares_);
}

void ScaleFitter::fit(float* scale) {
  double least[kTileLanes];
  float best[kTileLanes] = {};
  std::copy_n(squares_, kTileLanes, least);
  for (const double start : kStarts) {
    float trial[kTileLanes], inverse[kTileLanes], with[kTileLanes], of[kTileLanes];
    std::fill_n(trial, kTileLanes, static_cast<float>(start));
    for (int round = 0; round < kRounds; ++round) {
      for (int l = 0; l < kTileLanes; ++l) inverse[l] = 1 / trial[l];
      tile_level_sums(tile_.get(), weights_, n_, levels_, inverse, with, of);
      bool moved = false;
      for (int l = 0; l < kTileLanes; ++l) {
        // No level but 0, or none on the weights' side: this start leads nowhere.
        if (!(with[l] > 0 && of[l] > 0)) continue;
        const double error = squares_[l] - double{with[l]} * with[l] / of[l];
        const float next = with[l] / of[l];
        if (error < least[l]) {
          least[l] = error;
          best[l] = next;
        }
        moved = moved || next != trial[l];
        trial[l] = next;
      }
      if (!moved) break;
    }
  }
  for (int l = 0; l < kTileLanes; ++l) {
    scale[l] = as_float(best[l] * rms_[l]);
    if (scale[l] < kSmallestCodebookScale) scale[l] = 0;
  }
}

void ScaleFitter::errors(const float* scale, double* error) {
  double relative[kTileLanes];
  float inverse[kTileLanes], with[kTileLanes], of[kTileLanes];
  for (int l = 0; l < kTileLanes; ++l) {
    relative[l] = rms_[l] < kSmallestCodebookScale ? 0 : scale[l] / rms_[l];
    inverse[l] = relative[l] < kSmallestCodebookScale ? 0 : static_cast<float>(1 / relative[l]);
  }
  tile_level_sums(tile_.get(), weights_, n_, levels_, inverse, with, of);
  for (int l = 0; l < kTileLanes; ++l) {
    const double e = squares_[l] - 2 * relative[l] * with[l] + relative[l] * relative[l] * of[l];
    error[l] = std::max(e, 0.0) * rms_[l] * rms_[l];
  }
}

StoredScales::StoredScales(QuantizedMatrix& out)
    : metadata_(out.layout.metadata),
      group_(out.layout.scheme.group),
      scales_(out.part("scales")),
      scale_steps_(out.part("scale_steps")) {}

void StoredScales::settle_steps(MatrixView matrix, const TileLevels& levels, std::span<const float> scales,
                                float headroom) {
  if (metadata_ != Metadata::q8) return;
  const groups::Grouping grouping(matrix.rows, matrix.cols, group_, 1);
  steps_.resize(static_cast<size_t>(grouping.blocks()));
  for_blocks(matrix, grouping, [&](const groups::Block& block) {
    ScaleFitter fitter(levels, group_);
    const auto own = scales.subspan(static_cast<size_t>(block.first_group), static_cast<size_t>(block.groups));
    const float step = f32_from_f16(choose_step(block, own, fitter));
    const uint16_t half = headroom == 1 ? f16_from_f32(step) : f16_at_least(headroom * step);
    put_value(scale_steps_, block.index, half);
    steps_[static_cast<size_t>(block.index)] = f32_from_f16(half);
  });
}

float StoredScales::store(int64_t group, float scale) const {
  if (metadata_ == Metadata::f32) {
    put_value(scales_, group, scale);
    return scale;
  }
  if (metadata_ == Metadata::f16) {
    const uint16_t half = f16_from_f32(std::min(scale, kLargestHalf));
    put_value(scales_, group, half);
    return f32_from_f16(half);
  }
  const float step = steps_[static_cast<size_t>(group / kGroupsPerStep)];
  const auto code = static_cast<uint8_t>(step > 0 ? std::min(std::nearbyint(scale / step), 255.0f) : 0);
  put_value(scales_, group, code);
  return step * static_cast<float>(code);
}

std::vector<float> fit_scales(MatrixView matrix, int group, const TileLevels& levels) {
  const groups::Grouping grouping(matrix.rows, matrix.cols, group, 1);
  std::vector<float> scales(static_cast<size_t>(grouping.groups()));
  for_blocks(matrix, grouping, [&](const groups::Block& block) {
    ScaleFitter fitter(levels, group);
    for (int t = 0; t < block.tile_count; ++t) {
      const groups::Tile& tile = block.tiles[t];
      float found[kTileLanes];
      fitter.load(block.tile_data(t), nullptr, tile.n);
      fitter.fit(found);
      for (int l = 0; l < tile.lanes; ++l) scales[static_cast<size_t>(block.first_group + tile.group[l])] = found[l];
    }
  });
  return scales;
}

}  // namespace mxq::codebook
