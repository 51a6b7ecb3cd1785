// Inner loops of quantizing with error feedback, on tiles (see affine_tile.h): a lane is a row of the matrix, an
// element a column. As there, no kernel fuses multiply and add, and the `_ref` twins give the same bits.
#pragma once

#include <cstdint>

#include "kernels/affine_tile.h"
#include "kernels/level_tile.h"

namespace mxq {

/// Scale and zero of each lane; codebooks have no zero.
struct FeedbackGrid {
  const float* inverse_scale = nullptr;
  const float* scale = nullptr;
  const float* zero = nullptr;
};

// coefficients[j * stride + i] is what an error of column i adds to column j > i; others are not read.
#define MXQ_FEEDBACK_TILE_KERNELS                                                                                      \
  /* Columns 0 .. n-1 in order: q = round(w * inverse_scale + zero) of tile's w, within 0..max_code; what the matrix   \
     itself (`weights`, a tile) loses by it, weights - (q - zero) * scale, goes to `errors` and times its              \
     coefficients to the columns after it. */                                                                          \
  void tile_feedback(float* tile, const float* weights, int n, int max_code, const float* coefficients,                \
                     int64_t stride, const FeedbackGrid& grid, uint8_t* codes, float* errors);                         \
  /* The same with the levels nearest to w * inverse_scale: what is lost is weights - level * scale. */                \
  void tile_level_feedback(float* tile, const float* weights, int n, const TileLevels& levels,                         \
                           const float* coefficients, int64_t stride, const FeedbackGrid& grid, uint8_t* codes,        \
                           float* errors);                                                                             \
  /* The same were each column coded as itself: tile becomes the weights as GPTQ has updated them when it comes to     \
     column 0, which is what a grid of theirs must fit. */                                                             \
  void tile_update(float* tile, const float* weights, int n, const float* coefficients, int64_t stride,                \
                   float* errors);                                                                                     \
  /* Coordinate descent for columns 0 .. n-1 in order, of errors with the second moments H: tile has of each column j  \
     the sum over all columns k of H_jk times k's error; moments[j * stride + i] is H_ij. q becomes the code next to   \
     values + tile / H_jj, which is least given all others; what its value falls by, values - (q - zero) * scale, goes \
     to `changes` and times H_ij to the columns after it. */                                                           \
  void tile_descend(float* tile, const float* values, int n, int max_code, const float* moments, int64_t stride,       \
                    const float* inverse_diagonal, const FeedbackGrid& grid, uint8_t* codes, float* changes);          \
  /* The same with levels. */                                                                                          \
  void tile_level_descend(float* tile, const float* values, int n, const TileLevels& levels, const float* moments,     \
                          int64_t stride, const float* inverse_diagonal, const FeedbackGrid& grid, uint8_t* codes,     \
                          float* changes);                                                                             \
  /* tile[j] += sum over i < n of errors[i] * coefficients[j * stride + i], j < columns. */                            \
  void tile_add_feedback(const float* errors, int n, const float* coefficients, int64_t stride, int columns,           \
                         float* tile);

MXQ_FEEDBACK_TILE_KERNELS

namespace ref {
MXQ_FEEDBACK_TILE_KERNELS
}

}  // namespace mxq
