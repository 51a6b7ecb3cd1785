// Scales of a codebook's groups: found, and put into the form in which they are stored.
#pragma once

#include <span>
#include <vector>

#include "kernels/level_tile.h"
#include "mxq/quantized_matrix.h"
#include "schemes/groups/blocks.h"

namespace mxq::codebook {

/// Scales below this become 0: what divides by them may not be infinite.
inline constexpr float kSmallestCodebookScale = 1e-37f;

/// 4, 8 or 16, ascending.
TileLevels tile_levels(std::span<const float> levels);

/// 16 groups, a lane each, against the levels.
class ScaleFitter {
 public:
  /// Groups of up to `group` weights. The levels must outlive it.
  ScaleFitter(const TileLevels& levels, int64_t group);

  /// weights[i]: of the squared error of element i; nullptr: all 1.
  void load(const float* tile, const float* weights, int n);
  /// The scales of least squared error that are found by alternating codes and scale from several starts.
  void fit(float* scale);
  /// Squared error of each lane with these scales and the nearest levels.
  void errors(const float* scale, double* error);

 private:
  const TileLevels& levels_;
  groups::AlignedFloats tile_;  // each lane over its root mean square
  double rms_[kTileLanes], squares_[kTileLanes];
  const float* weights_ = nullptr;
  int n_ = 0;
};

/// Where the scales of a matrix go.
class StoredScales {
 public:
  explicit StoredScales(QuantizedMatrix& out);

  /// q8: the steps, from scales as fitted times `headroom`, written; nothing with other metadata.
  void settle_steps(MatrixView matrix, const TileLevels& levels, std::span<const float> scales, float headroom);
  /// Writes one group's scale; returns it as a reader finds it.
  float store(int64_t group, float scale) const;

 private:
  Metadata metadata_;
  int group_;
  std::span<std::byte> scales_, scale_steps_;
  std::vector<float> steps_;
};

/// Each group's scale, fitted to the matrix's weights as they are.
std::vector<float> fit_scales(MatrixView matrix, int group, const TileLevels& levels);

}  // namespace mxq::codebook
