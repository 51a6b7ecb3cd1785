#include "schemes/affine/bounded.h"

#include <cstring>

namespace mxq::affine {

void bound(const Block& block, int max_code, Fit fit, const FittedBlock& fitted, const MetadataRange& range,
           BoundedBlock& bounded) {
  const size_t bytes = sizeof(float) * kTileLanes * static_cast<size_t>(block.tile_count);
  std::memcpy(bounded.scale, fitted.scale, bytes);
  std::memcpy(bounded.center, fitted.center, bytes);
  for (int t = 0; t < block.tile_count; ++t) {
    tile_fit_bounded(block.tile_data(t), nullptr, block.tiles[t].n, max_code, range,
                     fit == Fit::mse ? kBoundedRounds : 0, bounded.scale + t * kTileLanes,
                     bounded.center + t * kTileLanes);
  }
}

}  // namespace mxq::affine
