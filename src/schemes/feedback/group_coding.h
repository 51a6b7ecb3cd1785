// What a family does with a group of weights while errors are fed back (gptq.cc does the feeding).
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/affine_tile.h"

namespace mxq::feedback {

/// Where the values of some columns of 16 groups lie, a lane each: FeedbackGrid's numbers.
struct GroupGrid {
  alignas(64) float inverse_scale[kTileLanes] = {};
  alignas(64) float scale[kTileLanes] = {};
  alignas(64) float zero[kTileLanes] = {};
};

/// Codes groups on one thread, 16 at a time, a lane each (tiles: kernels/affine_tile.h).
class GroupCoder {
 public:
  virtual ~GroupCoder() = default;

  /// Settles what is kept of the matrix's groups number group[0 .. lanes) from the weights as they stand, and writes
  /// it. weights[i]: what a squared error of column i costs. Lanes beyond `lanes` repeat others.
  virtual void settle(const float* tile, const float* weights, int n, const int64_t* group, int lanes) = 0;

  /// Codes them column by column: see tile_feedback() (kernels/feedback_tile.h).
  virtual void code(float* tile, const float* weights, int n, const float* coefficients, int64_t stride, uint8_t* codes,
                    float* errors) = 0;

  /// Columns of a group that share a grid; the group's last ones may be fewer.
  virtual int grid_columns() const = 0;
  /// Of the columns g * grid_columns() and on of the groups that have been coded last.
  virtual void grid(int g, GroupGrid& out) const = 0;
  /// Codes columns that share a grid anew, given all others: see tile_descend() (kernels/feedback_tile.h).
  virtual void descend(float* tile, const float* values, int n, const float* moments, const float* inverse_diagonal,
                       int64_t stride, const GroupGrid& grid, uint8_t* codes, float* changes) const = 0;

  /// Of families that store codes and scales together: writes groups, which come in the order in which they have been
  /// coded, with their codes as they are at last. The part `codes` of others is written by who feeds back.
  virtual void write(const uint8_t* codes, int n) {
    (void)codes;
    (void)n;
  }
};

/// Of one matrix: metadata first. What many groups share is settled and written when it is made.
class GroupCoding {
 public:
  virtual ~GroupCoding() = default;
  /// For one thread; the coding must outlive it.
  virtual std::unique_ptr<GroupCoder> coder() const = 0;
};

}  // namespace mxq::feedback
