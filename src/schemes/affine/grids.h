// What is settled about scales and zeros before GPTQ codes its first column.
#pragma once

#include <vector>

#include "mxq/quantized_matrix.h"
#include "schemes/affine/metadata.h"
#include "schemes/feedback/factor.h"
#include "schemes/groups/blocks.h"

namespace mxq::affine {

/// q8: of each kGroupsPerStep groups.
struct Grids {
  std::vector<float> scale_steps, zero_steps;
};

/// 16 rows' groups of one range of columns, as a tile: scale and zero fitted and put on a grid.
class GroupFitter {
 public:
  GroupFitter(int bits, Metadata metadata, GptqOptions::Grid grid) : bits_(bits), metadata_(metadata), grid_(grid) {}

  /// Grid::least_squares with `weights` for the squared errors, and the others where the metadata has a bias
  /// (symmetric.h, integer_zeros.h); fitted() has scale and center of each lane, or scale and zero.
  void fit(const float* tile, const float* weights, int n);
  /// What fit() found, or what has been put there, as metadata can hold it: on grids with these steps (q8), or as
  /// floats. stored() has each lane's.
  void store(const float* tile, const float* weights, int n, const MetadataSteps& steps);

  FittedBlock& fitted() { return fitted_; }
  const StoredBlock& stored() const { return stored_; }
  /// q8: weighted squared error of each lane.
  const float* errors() const { return errors_; }

 private:
  void prepare(const float* tile, int n);
  bool fits_symmetric() const;
  bool fits_integer() const;
  void fit_range(const float* tile, int n);

  int bits_;
  Metadata metadata_;
  GptqOptions::Grid grid_;
  Block block_;
  FittedBlock fitted_;
  StoredBlock stored_;
  alignas(64) float errors_[kTileLanes];
};

/// Fits the matrix as it is, for the steps of q8. What is settled goes to `out` too.
Grids fix_grids(MatrixView matrix, const FeedbackFactor& factor, const Grouping& grouping, QuantizedMatrix& out);

}  // namespace mxq::affine
