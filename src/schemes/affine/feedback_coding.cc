#include "schemes/affine/feedback_coding.h"

#include "kernels/feedback_tile.h"
#include "schemes/affine/grids.h"
#include "schemes/affine/output.h"

namespace mxq::affine {

namespace {

class AffineCoder : public feedback::GroupCoder {
 public:
  AffineCoder(const Grids& grids, GptqOptions::Grid grid, QuantizedMatrix& out)
      : grids_(grids),
        max_code_((1 << out.layout.scheme.bits) - 1),
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
  }

  void code(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, uint8_t* codes,
            float* errors) override {
    const FeedbackGrid grid{fitter_.stored().inverse_scale, fitter_.stored().scale, fitter_.stored().zero};
    tile_feedback(tile, weights, n, max_code_, coefficients, stride, grid, codes, errors);
  }

 private:
  const Grids& grids_;
  int max_code_;
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
