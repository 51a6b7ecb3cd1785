// The scales of GGUF's blocks: found, and put on the grid that the type has for them.
#pragma once

#include <cstdint>

#include "format/ggml_pack.h"
#include "kernels/level_tile.h"
#include "schemes/codebook/scales.h"
#include "schemes/ggml/ggml_type.h"
#include "schemes/groups/blocks.h"

namespace mxq::ggml {

/// 16 blocks, a lane each: tiles (kernels/affine_tile.h) of type.block elements, weights[i] of the squared error of
/// element i (null: all 1).
///
/// Each group's scale (and offset) is fitted by least squares for itself. The block's own d and m span the largest of
/// them. Then in turn: each group takes those of its neighbours on the grid that lose least, and d and m are solved
/// from all codes by least squares, as long as that gains.
class BlockFitter {
 public:
  explicit BlockFitter(const Type& type);

  /// Settles everything.
  void fit(const float* tile, const float* weights);
  /// Settles group `g` anew, for other weights; d and m stay. `tile` and `weights` are the group's. Does nothing where
  /// a block is one group.
  void refit(int g, const float* tile, const float* weights);

  /// Of a group's lanes: a weight is (code - zero) * scale, of levels level[code] * scale.
  const float* inverse_scale(int g) const { return inverse_[g]; }
  const float* scale(int g) const { return scale_[g]; }
  const float* zero(int g) const { return zero_[g]; }
  const TileLevels& levels() const { return levels_; }

  /// Of a lane: all but the codes.
  GgmlBlock& block(int lane) { return blocks_[lane]; }

 private:
  const float* group_tile(const float* tile, int g) const { return tile + g * type_.group * kTileLanes; }
  const float* group_weights(const float* weights, int g) const {
    return weights == nullptr ? nullptr : weights + g * type_.group;
  }
  /// Into wanted_scale_ and wanted_offset_.
  void fit_alone(int g, const float* tile, const float* weights);
  void fit_affine(int g, const float* tile, const float* weights);
  void fit_symmetric(int g, const float* tile, const float* weights);
  void span_groups();
  /// Of the grid's points next to what the group wants (or, later, next to what it has) those that lose least.
  enum class From { wanted, taken };
  void snap(int g, const float* tile, const float* weights, From from);
  /// What the group's scale and offset come to, from the block's numbers.
  void take_over(int g);
  void errors(int g, const float* tile, const float* weights, float* error) const;
  /// d and m of each lane anew; true where any lane has gained.
  bool solve(const float* tile, const float* weights);

  const Type& type_;
  TileLevels levels_, unit_levels_;  // the second of a mean square of 1 or so, as ScaleFitter wants them
  codebook::ScaleFitter level_fitter_;
  GgmlBlock blocks_[kTileLanes];
  alignas(64) float d_[kTileLanes], m_[kTileLanes];  // as fp16 holds them
  alignas(64) float wanted_scale_[kGgmlGroups][kTileLanes], wanted_offset_[kGgmlGroups][kTileLanes];
  alignas(64) float inverse_[kGgmlGroups][kTileLanes], scale_[kGgmlGroups][kTileLanes], zero_[kGgmlGroups][kTileLanes];
  alignas(64) float error_[kGgmlGroups][kTileLanes];
};

}  // namespace mxq::ggml
