#include "kernels/affine_tile.h"

namespace mxq {
void tile_load_groups(const float* const* groups, int n, float* tile) {
  ref::tile_load_groups(groups, n, tile);
}
void tile_load_columns(const float* first, int64_t stride, int lanes, int n, float* tile) {
  ref::tile_load_columns(first, stride, lanes, n, tile);
}
void tile_min_max(const float* tile, int n, float* min, float* max) {
  ref::tile_min_max(tile, n, min, max);
}
void tile_hqq_rounds(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero, int rounds,
                     float* zeros, float* errors) {
  ref::tile_hqq_rounds(tile, n, max_code, inverse_scale, zero, rounds, zeros, errors);
}
void tile_fit_mse(const float* tile, int n, int max_code, const float* min, const float* max,
                  const LeastSquaresSearch& search, float* scale, float* center) {
  ref::tile_fit_mse(tile, n, max_code, min, max, search, scale, center);
}
void tile_fit_bounded(const float* tile, int n, int max_code, const MetadataRange& range, int rounds, float* scale,
                      float* center) {
  ref::tile_fit_bounded(tile, n, max_code, range, rounds, scale, center);
}
void tile_snap(const float* tile, int n, int max_code, const MetadataSteps& steps, bool neighbours, const float* scale,
               const float* center, uint8_t* scale_codes, int8_t* zero_codes, float* error) {
  ref::tile_snap(tile, n, max_code, steps, neighbours, scale, center, scale_codes, zero_codes, error);
}
void tile_codes(const float* tile, int n, int max_code, const float* inverse_scale, const float* zero, uint8_t* codes) {
  ref::tile_codes(tile, n, max_code, inverse_scale, zero, codes);
}
void tile_squared_error(const float* tile, int n, int max_code, const float* inverse_scale, const float* scale,
                        const float* zero, double* error) {
  ref::tile_squared_error(tile, n, max_code, inverse_scale, scale, zero, error);
}
}  // namespace mxq
