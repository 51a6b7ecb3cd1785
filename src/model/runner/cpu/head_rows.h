// Keys or values of a sequence, in memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "mxq/run_options.h"

namespace mxq {

/// Rows of one head, `stride` apart: in fp32, or in bf16 where `f32` is null.
struct HeadView {
  const float* f32 = nullptr;
  const uint16_t* bf16 = nullptr;
  int64_t stride = 0;

  HeadView from(int64_t row) const {
    return {f32 == nullptr ? nullptr : f32 + row * stride, bf16 == nullptr ? nullptr : bf16 + row * stride, stride};
  }
};

/// Rows [length, heads * head_dim] that grow; those of a head lie together, [heads, room, head_dim], so that a token's
/// attention reads memory from one end to the other. As `compute` says, in fp32 or rounded to bf16.
class HeadRows {
 public:
  HeadRows() = default;

  /// Appends rows [n, heads * head_dim], of which all are alike in both. Parallel over rows.
  void add(const float* rows, int64_t n, int64_t heads, int64_t head_dim, Compute compute) {
    if (length_ + n > room_) grow(std::max(length_ + n, 2 * room_), heads, head_dim, compute);
    parallel_for(n, [&](int64_t i) {
      for (int64_t head = 0; head < heads; ++head) {
        const float* from = rows + (i * heads + head) * head_dim;
        const int64_t to = (head * room_ + length_ + i) * head_dim;
        if (compute == Compute::bf16) {
          to_bf16(from, head_dim, bf16_.get() + to);
        } else {
          std::copy_n(from, head_dim, f32_.get() + to);
        }
      }
    });
    length_ += n;
    head_dim_ = head_dim;
  }

  int64_t length() const { return length_; }
  /// Valid until rows are added.
  HeadView head(int64_t i) const {
    const int64_t at = i * room_ * head_dim_;
    return {f32_ ? f32_.get() + at : nullptr, bf16_ ? bf16_.get() + at : nullptr, head_dim_};
  }

 private:
  void grow(int64_t room, int64_t heads, int64_t head_dim, Compute compute) {
    if (compute == Compute::bf16) {
      grow(bf16_, room, heads, head_dim);
    } else {
      grow(f32_, room, heads, head_dim);
    }
    room_ = room;
  }
  template <typename T>
  void grow(std::unique_ptr<T[]>& all, int64_t room, int64_t heads, int64_t head_dim) const {
    auto larger = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(heads * room * head_dim));
    for (int64_t head = 0; all && head < heads; ++head) {
      std::copy_n(all.get() + head * room_ * head_dim, length_ * head_dim, larger.get() + head * room * head_dim);
    }
    all = std::move(larger);
  }

  int64_t length_ = 0, room_ = 0, head_dim_ = 0;
  std::unique_ptr<float[]> f32_;
  std::unique_ptr<uint16_t[]> bf16_;
};

}  // namespace mxq
