#include "schemes/affine/grids.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/half.h"
#include "base/parallel.h"
#include "schemes/affine/integer_zeros.h"
#include "schemes/affine/output.h"
#include "schemes/affine/symmetric.h"

namespace mxq::affine {

namespace {

/// Room that the steps of scales leave above what the weights as they are ask for, as errors of other columns come on
/// top of them; less where a step is as coarse as the last code. Measured: see docs/reference/algorithms.md.
constexpr float kHeadroom = 2.0f, kHeadroomOfWideCodes = 1.25f;
/// No zero needs more than this: a step of one code.
constexpr float kLargestOffset = 127.0f;
/// A block whose largest scale is this many times the median is looked at more closely.
constexpr float kOutlier = 6.0f;

/// The first fit of all groups.
struct FirstFit {
  std::vector<float> scale, center;
};

/// Lanes l of the tile = rows[l]'s groups number g.
class GroupLoader {
 public:
  GroupLoader(MatrixView matrix, const Grouping& grouping, const std::vector<float>& column_weights)
      : matrix_(matrix),
        group_(grouping.group),
        weights_(column_weights),
        tile_(allocate_floats(int64_t{kTileLanes} * grouping.group)) {}

  void load(const int64_t* rows, int64_t g) {
    first_ = g * group_;
    n_ = static_cast<int>(std::min<int64_t>(group_, matrix_.cols - first_));
    const float* lanes[kTileLanes];
    for (int l = 0; l < kTileLanes; ++l) lanes[l] = matrix_.data + rows[l] * matrix_.cols + first_;
    tile_load_groups(lanes, n_, tile_.get());
  }
  const float* tile() const { return tile_.get(); }
  const float* weights() const { return weights_.data() + first_; }
  int n() const { return n_; }

 private:
  MatrixView matrix_;
  int64_t group_, first_ = 0;
  int n_ = 0;
  const std::vector<float>& weights_;
  AlignedFloats tile_;
};

/// Limits of scales and of |centre / scale| for a block of groups.
struct Limits {
  float scale = 0, offset = 0;
};

/// Steps of one block of groups.
class StepChooser {
 public:
  StepChooser(MatrixView matrix, const Grouping& grouping, const std::vector<float>& column_weights, int bits,
              GptqOptions::Grid grid, const FirstFit& fit)
      : grouping_(grouping),
        per_row_((matrix.cols + grouping.group - 1) / grouping.group),
        middle_(0.5f * static_cast<float>((1 << bits) - 1)),
        fit_(fit),
        loader_(matrix, grouping, column_weights),
        fitter_(bits, Metadata::q8, grid) {}

  Limits choose(int64_t block) {
    first_ = block * kGroupsPerStep;
    end_ = std::min(grouping_.groups(), first_ + kGroupsPerStep);
    std::vector<float> scales, offsets;
    for (int64_t j = first_; j < end_; ++j) {
      if (fit_.scale[j] < kSmallestScale) continue;  // constant groups follow the others
      scales.push_back(fit_.scale[j]);
      offsets.push_back(std::fabs(fit_.center[j]) / fit_.scale[j]);
    }
    Limits limits{0, middle_};
    float usual_scale = 0, usual_offset = middle_;
    if (!scales.empty()) {
      usual_scale = median(scales);
      usual_offset = std::max(median(offsets), middle_);
      limits.offset = std::min(*std::max_element(offsets.begin(), offsets.end()), kLargestOffset);
    }
    limits.scale = needed_scale(limits.offset);
    const bool outliers = limits.scale > kOutlier * usual_scale || limits.offset > 3 * usual_offset;
    if (scales.empty() || !outliers) return limits;

    // Finer steps for most groups at the cost of some: offsets first, then scales.
    double least = error(limits);
    const auto consider = [&](const Limits& trial) {
      const double e = error(trial);
      if (!(e < least)) return;
      least = e;
      limits = trial;
    };
    for (float limit = 0.5f * limits.offset; limit > 0.25f * usual_offset; limit *= 0.5f) {
      consider({needed_scale(limit), limit});
    }
    for (Limits trial = limits; trial.scale > usual_scale;) {
      trial.scale *= 0.5f;
      consider(trial);
    }
    return limits;
  }

 private:
  static float median(std::vector<float>& values) {
    const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
  }

  /// The scale that the neediest group takes when centres must lie within offset_limit scales: its own, or the one with
  /// which its span, pushed inwards, still ends where it did.
  float needed_scale(float offset_limit) const {
    float needed = 0;
    for (int64_t j = first_; j < end_; ++j) {
      const float scale = fit_.scale[j], center = std::fabs(fit_.center[j]);
      const bool within = center <= offset_limit * scale;
      needed = std::max(needed, within ? scale : (center + scale * middle_) / (offset_limit + middle_));
    }
    return needed;
  }

  /// Weighted squared error of the block's groups on the grid of these limits.
  double error(const Limits& limits) {
    MetadataSteps steps;
    std::fill_n(steps.scale, kTileLanes, f32_from_f16(f16_at_least(limits.scale / 255)));
    std::fill_n(steps.zero, kTileLanes, f32_from_f16(f16_at_least(limits.offset / 127)));
    double sum = 0;
    for (int64_t g = 0; g < per_row_; ++g) {
      const int64_t rows_end = (end_ - 1 - g + per_row_) / per_row_;
      for (int64_t row = std::max<int64_t>(0, first_ - g + per_row_ - 1) / per_row_; row < rows_end;
           row += kTileLanes) {
        const auto lanes = static_cast<int>(std::min<int64_t>(kTileLanes, rows_end - row));
        int64_t rows[kTileLanes];
        for (int l = 0; l < kTileLanes; ++l) {
          rows[l] = row + std::min(l, lanes - 1);
          fitter_.fitted().scale[l] = fit_.scale[rows[l] * per_row_ + g];
          fitter_.fitted().center[l] = fit_.center[rows[l] * per_row_ + g];
        }
        loader_.load(rows, g);
        fitter_.store(loader_.tile(), loader_.weights(), loader_.n(), steps);
        for (int l = 0; l < lanes; ++l) sum += fitter_.errors()[l];
      }
    }
    return sum;
  }

  const Grouping& grouping_;
  int64_t per_row_, first_ = 0, end_ = 0;
  float middle_;
  const FirstFit& fit_;
  GroupLoader loader_;
  GroupFitter fitter_;
};

}  // namespace

void GroupFitter::fit(const float* tile, const float* weights, int n) {
  if (fits_symmetric()) {
    fit_symmetric_tile(tile, weights, n, bits_, fitted_.scale);
    for (int l = 0; l < kTileLanes; ++l) fitted_.center[l] = -0.5f * fitted_.scale[l];
    std::fill_n(fitted_.zero, kTileLanes, 0.0f);
    return;
  }
  if (fits_integer()) {
    fit_integer_tile(tile, weights, n, bits_, zero_step(bits_, metadata_), fitted_.scale, fitted_.zero);
    return;
  }
  if (grid_ != GptqOptions::Grid::least_squares) return fit_range(tile, n);
  prepare(tile, n);
  fit_mse(block_, bits_, metadata_, fitted_, weights);
}

void GroupFitter::fit_range(const float* tile, int n) {
  const auto largest_code = static_cast<float>((1 << bits_) - 1);
  for (int l = 0; l < kTileLanes; ++l) {
    float low = 0, high = 0;
    for (int i = 0; i < n; ++i) {
      low = std::min(low, tile[i * kTileLanes + l]);
      high = std::max(high, tile[i * kTileLanes + l]);
    }
    if (grid_ == GptqOptions::Grid::symmetric) {
      high = std::max(-low, high);
      low = -high;
    }
    // By halves, for the whole range may be more than a float holds.
    const float scale = 2 * ((0.5f * high - 0.5f * low) / largest_code);
    const float zero = grid_ == GptqOptions::Grid::symmetric ? 0.5f * (largest_code + 1)
                       : scale > 0                           ? std::nearbyint(-low / scale)
                                                             : 0;
    fitted_.scale[l] = scale;
    fitted_.center[l] = (0.5f * largest_code - zero) * scale;
  }
}

void GroupFitter::store(const float* tile, const float* weights, int n, const MetadataSteps& steps) {
  prepare(tile, n);
  if (fits_symmetric()) {
    store_symmetric(fitted_.scale, kTileLanes, bits_, metadata_, stored_);
  } else if (fits_integer()) {
    store_integer(fitted_.scale, fitted_.zero, kTileLanes, bits_, metadata_, stored_);
  } else if (metadata_ == Metadata::q8) {
    store_on_grid(tile, weights, n, bits_, steps, fitted_, stored_, errors_);
  } else {
    store_metadata(block_, bits_, Fit::mse, metadata_, fitted_, stored_);
  }
}

bool GroupFitter::fits_symmetric() const {
  return grid_ == GptqOptions::Grid::symmetric && has_bias(metadata_);
}

bool GroupFitter::fits_integer() const {
  return grid_ == GptqOptions::Grid::range && has_bias(metadata_);
}

void GroupFitter::prepare(const float* tile, int n) {
  block_.tile_count = 1;
  block_.tiles[0].n = n;
  block_.tiles[0].lanes = kTileLanes;
  block_.data = const_cast<float*>(tile);  // which nobody writes to
}

Grids fix_grids(MatrixView matrix, const FeedbackFactor& factor, const Grouping& grouping, QuantizedMatrix& out) {
  Grids grids;
  const Metadata metadata = out.layout.metadata;
  Output parts(out);
  const int bits = out.layout.scheme.bits;
  if (metadata != Metadata::q8) return grids;
  std::vector<float> column_weights(static_cast<size_t>(matrix.cols));
  for (int64_t i = 0; i < matrix.cols; ++i) column_weights[factor.order()[i]] = factor.pivots()[i];

  // Tiles of 16 rows by a group of columns; body(loader, fitter, numbers of the lanes' groups, how many are no
  // repetition).
  const int64_t per_row = (matrix.cols + grouping.group - 1) / grouping.group;
  const auto for_tiles = [&](const auto& body) {
    parallel_for((matrix.rows + kTileLanes - 1) / kTileLanes, [&](int64_t tile) {
      GroupLoader loader(matrix, grouping, column_weights);
      const auto fitter = std::make_unique<GroupFitter>(bits, metadata, factor.grid());
      int64_t rows[kTileLanes], groups[kTileLanes];
      for (int l = 0; l < kTileLanes; ++l) rows[l] = std::min(tile * kTileLanes + l, matrix.rows - 1);
      const auto lanes = static_cast<int>(std::min<int64_t>(kTileLanes, matrix.rows - tile * kTileLanes));
      for (int64_t g = 0; g < per_row; ++g) {
        for (int l = 0; l < kTileLanes; ++l) groups[l] = rows[l] * per_row + g;
        loader.load(rows, g);
        body(loader, *fitter, groups, lanes);
      }
    });
  };
  const auto all = static_cast<size_t>(grouping.groups());
  FirstFit first{std::vector<float>(all), std::vector<float>(all)};
  for_tiles([&](GroupLoader& loader, GroupFitter& fitter, const int64_t* groups, int lanes) {
    fitter.fit(loader.tile(), loader.weights(), loader.n());
    for (int l = 0; l < lanes; ++l) {
      first.scale[groups[l]] = fitter.fitted().scale[l];
      first.center[groups[l]] = fitter.fitted().center[l];
    }
  });
  grids.scale_steps.resize(static_cast<size_t>(grouping.blocks()));
  grids.zero_steps.resize(grids.scale_steps.size());
  const float headroom = bits >= kWideCodes ? kHeadroomOfWideCodes : kHeadroom;
  constexpr int64_t kBlocksPerTask = 16;
  parallel_for((grouping.blocks() + kBlocksPerTask - 1) / kBlocksPerTask, [&](int64_t task) {
    const auto chooser = std::make_unique<StepChooser>(matrix, grouping, column_weights, bits, factor.grid(), first);
    const int64_t end = std::min(grouping.blocks(), (task + 1) * kBlocksPerTask);
    for (int64_t b = task * kBlocksPerTask; b < end; ++b) {
      const Limits limits = chooser->choose(b);
      StoredBlock stored;
      stored.scale_step = f16_at_least(headroom * limits.scale / 255);
      stored.zero_step = f16_at_least(limits.offset / 127);
      write_steps(b, stored, parts);
      grids.scale_steps[b] = f32_from_f16(stored.scale_step);
      grids.zero_steps[b] = f32_from_f16(stored.zero_step);
    }
  });
  return grids;
}

}  // namespace mxq::affine
