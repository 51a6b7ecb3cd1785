// What a family does with a group of weights while errors are fed back (gptq.cc does the feeding).
#pragma once

#include <cstdint>
#include <memory>

namespace mxq::feedback {

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
};

/// Of one matrix: metadata first. What many groups share is settled and written when it is made.
class GroupCoding {
 public:
  virtual ~GroupCoding() = default;
  /// For one thread; the coding must outlive it.
  virtual std::unique_ptr<GroupCoder> coder() const = 0;
};

}  // namespace mxq::feedback
