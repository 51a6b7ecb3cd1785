#include "schemes/codebook/coding.h"

#include <algorithm>

#include "kernels/feedback_tile.h"
#include "schemes/codebook/scales.h"

namespace mxq::codebook {

namespace {

/// As errors of other columns come on top of the weights; that of the affine schemes (affine/grids.cc).
constexpr float kHeadroom = 2.0f;

class Coder : public feedback::GroupCoder {
 public:
  Coder(const TileLevels& levels, int group, const StoredScales& scales)
      : levels_(levels), group_(group), fitter_(levels, group), scales_(scales) {}

  void settle(const float* tile, const float* weights, int n, const int64_t* group, int lanes) override {
    float fitted[kTileLanes];
    fitter_.load(tile, weights, n);
    fitter_.fit(fitted);
    for (int l = 0; l < kTileLanes; ++l) {
      scale_[l] = l < lanes ? scales_.store(group[l], fitted[l]) : 0;
      inverse_scale_[l] = scale_[l] < kSmallestCodebookScale ? 0 : 1 / scale_[l];
    }
  }

  void code(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, uint8_t* codes,
            float* errors) override {
    tile_level_feedback(tile, weights, n, levels_, coefficients, stride, {inverse_scale_, scale_, nullptr}, codes,
                        errors);
  }

  int grid_columns() const override { return group_; }
  void grid(int /*g*/, feedback::GroupGrid& out) const override {
    std::copy_n(inverse_scale_, kTileLanes, out.inverse_scale);
    std::copy_n(scale_, kTileLanes, out.scale);
  }
  void descend(float* tile, const float* values, int n, const float* moments, const float* inverse_diagonal,
               int64_t stride, const feedback::GroupGrid& grid, uint8_t* codes, float* changes) const override {
    tile_level_descend(tile, values, n, levels_, moments, stride, inverse_diagonal,
                       {grid.inverse_scale, grid.scale, nullptr}, codes, changes);
  }

 private:
  const TileLevels& levels_;
  int group_;
  ScaleFitter fitter_;
  const StoredScales& scales_;
  float scale_[kTileLanes], inverse_scale_[kTileLanes];
};

class Coding : public feedback::GroupCoding {
 public:
  Coding(MatrixView matrix, std::span<const float> levels, QuantizedMatrix& out)
      : levels_(tile_levels(levels)), group_(out.layout.scheme.group), scales_(out) {
    scales_.settle_steps(matrix, levels_, fit_scales(matrix, group_, levels_), kHeadroom);
  }

  std::unique_ptr<feedback::GroupCoder> coder() const override {
    return std::make_unique<Coder>(levels_, group_, scales_);
  }

 private:
  TileLevels levels_;
  int group_;
  StoredScales scales_;
};

}  // namespace

std::unique_ptr<feedback::GroupCoding> codebook_coding(MatrixView matrix, std::span<const float> levels,
                                                       QuantizedMatrix& out) {
  return std::make_unique<Coding>(matrix, levels, out);
}

}  // namespace mxq::codebook
