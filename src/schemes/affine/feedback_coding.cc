#include "schemes/affine/feedback_coding.h"

#include <algorithm>
#include <span>

#include "kernels/feedback_tile.h"
#include "schemes/affine/grids.h"
#include "schemes/affine/output.h"

namespace mxq::affine {

namespace {

/// Grids whose zeros are codes: what is tried around the scale and the zero of least squares, which know nothing of the
/// feedback within the group.
struct Trial {
  float part = 1;   // of the scale
  float shift = 0;  // of the zero
};
constexpr Trial kSymmetricTrials[] = {{0.80f}, {0.86f}, {0.92f},  {0.96f}, {1.04f},
                                      {1.09f}, {1.15f}, {-0.92f}, {-1.0f}, {-1.08f}};
constexpr Trial kIntegerTrials[] = {{0.86f}, {0.92f},     {0.96f},    {1.04f},     {1.09f},   {1, -1},
                                    {1, 1},  {0.94f, -1}, {0.94f, 1}, {1.06f, -1}, {1.06f, 1}};
/// From this width on, no trial gains what it costs.
constexpr int kWidestTried = 4;

class AffineCoder : public feedback::GroupCoder {
 public:
  AffineCoder(const Grids& grids, GptqOptions::Grid grid, QuantizedMatrix& out)
      : grids_(grids),
        group_(out.layout.scheme.group),
        max_code_((1 << out.layout.scheme.bits) - 1),
        trials_(trials(grid, out.layout)),
        trial_(allocate_floats(int64_t{out.layout.scheme.group} * kTileLanes)),
        fitter_(out.layout.scheme.bits, out.layout.metadata, grid),
        out_(out) {}

  void settle(const float* tile, const float* weights, int n, const int64_t* group, int lanes) override {
    MetadataSteps steps;
    for (int l = 0; l < lanes && !grids_.scale_steps.empty(); ++l) {
      const int64_t block = group[l] / kGroupsPerStep;
      steps.scale[l] = grids_.scale_steps[static_cast<size_t>(block)];
      steps.zero[l] = grids_.zero_steps[static_cast<size_t>(block)];
    }
    fitter_.fit(tile, weights, n);
    fitter_.store(tile, weights, n, steps);
    for (int l = 0; l < lanes; ++l) write_group(group[l], fitter_.stored(), l, out_);
    pivots_ = weights;
    lanes_ = lanes;
    std::copy_n(group, lanes, groups_);
  }

  void code(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, uint8_t* codes,
            float* errors) override {
    if (!trials_.empty()) try_others(tile, weights, n, coefficients, stride, codes, errors);
    const FeedbackGrid grid{fitter_.stored().inverse_scale, fitter_.stored().scale, fitter_.stored().zero};
    tile_feedback(tile, weights, n, max_code_, coefficients, stride, grid, codes, errors);
  }

  int grid_columns() const override { return group_; }
  void grid(int /*g*/, feedback::GroupGrid& out) const override {
    const StoredBlock& stored = fitter_.stored();
    std::copy_n(stored.inverse_scale, kTileLanes, out.inverse_scale);
    std::copy_n(stored.scale, kTileLanes, out.scale);
    std::copy_n(stored.zero, kTileLanes, out.zero);
  }
  void descend(float* tile, const float* values, int n, const float* moments, const float* inverse_diagonal,
               int64_t stride, const feedback::GroupGrid& grid, uint8_t* codes, float* changes) const override {
    tile_descend(tile, values, n, max_code_, moments, stride, inverse_diagonal,
                 {grid.inverse_scale, grid.scale, grid.zero}, codes, changes);
  }

 private:
  static std::span<const Trial> trials(GptqOptions::Grid grid, const QuantizedLayout& layout) {
    if (!has_bias(layout.metadata) || layout.scheme.bits > kWidestTried) return {};
    if (grid == GptqOptions::Grid::symmetric) return kSymmetricTrials;
    return grid == GptqOptions::Grid::range ? kIntegerTrials : std::span<const Trial>{};
  }

  /// Codes the groups that settle() has settled with other scales and zeros, and settles those that lose least.
  void try_others(const float* tile, const float* weights, int n, const float* coefficients, int64_t stride,
                  uint8_t* codes, float* errors) {
    alignas(64) float scale[kTileLanes], zero[kTileLanes], best_scale[kTileLanes], best_zero[kTileLanes];
    double least[kTileLanes], loss[kTileLanes];
    FittedBlock& fitted = fitter_.fitted();
    std::copy_n(fitted.scale, kTileLanes, scale);
    std::copy_n(fitted.zero, kTileLanes, zero);
    std::copy_n(scale, kTileLanes, best_scale);
    std::copy_n(zero, kTileLanes, best_zero);
    const auto lose = [&](double* of) {
      std::copy_n(tile, n * kTileLanes, trial_.get());
      const StoredBlock& stored = fitter_.stored();
      tile_feedback(trial_.get(), weights, n, max_code_, coefficients, stride,
                    {stored.inverse_scale, stored.scale, stored.zero}, codes, errors);
      // What a column adds to the error of the outputs: its pivot times (the weight as updated - what it became)^2.
      std::fill_n(of, kTileLanes, 0.0);
      for (int i = 0; i < n; ++i) {
        for (int l = 0; l < kTileLanes; ++l) {
          const int at = i * kTileLanes + l;
          const double lost = trial_[at] - (weights[at] - errors[at]);
          of[l] += pivots_[i] * lost * lost;
        }
      }
    };
    lose(least);
    for (const Trial& trial : trials_) {
      for (int l = 0; l < kTileLanes; ++l) {
        fitted.scale[l] = trial.part * scale[l];
        fitted.zero[l] = zero[l] + trial.shift;
      }
      fitter_.store(tile, pivots_, n, {});
      lose(loss);
      for (int l = 0; l < kTileLanes; ++l) {
        if (!(loss[l] < least[l])) continue;
        least[l] = loss[l];
        best_scale[l] = fitted.scale[l];
        best_zero[l] = fitted.zero[l];
      }
    }
    std::copy_n(best_scale, kTileLanes, fitted.scale);
    std::copy_n(best_zero, kTileLanes, fitted.zero);
    fitter_.store(tile, pivots_, n, {});
    for (int l = 0; l < lanes_; ++l) write_group(groups_[l], fitter_.stored(), l, out_);
  }

  const Grids& grids_;
  int group_, max_code_;
  std::span<const Trial> trials_;
  AlignedFloats trial_;
  // Of the groups that settle() has settled last.
  const float* pivots_ = nullptr;
  int lanes_ = 0;
  int64_t groups_[kTileLanes] = {};
  GroupFitter fitter_;
  Output out_;
};

class AffineCoding : public feedback::GroupCoding {
 public:
  AffineCoding(MatrixView matrix, const FeedbackFactor& factor, QuantizedMatrix& out)
      : grids_(fix_grids(matrix, factor, Grouping(matrix.rows, matrix.cols, out.layout.scheme.group, out.layout.axis),
                         out)),
        grid_(factor.grid()),
        out_(out) {}

  std::unique_ptr<feedback::GroupCoder> coder() const override {
    return std::make_unique<AffineCoder>(grids_, grid_, out_);
  }

 private:
  Grids grids_;
  GptqOptions::Grid grid_;
  QuantizedMatrix& out_;
};

}  // namespace

std::unique_ptr<feedback::GroupCoding> affine_coding(MatrixView matrix, const FeedbackFactor& factor,
                                                     QuantizedMatrix& out) {
  return std::make_unique<AffineCoding>(matrix, factor, out);
}

}  // namespace mxq::affine
