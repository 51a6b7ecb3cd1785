#include "schemes/normalize/rotation.h"

#include <cmath>

#include "kernels/weight_rows.h"

namespace mxq {

Rotation::Rotation(int64_t cols) : cols_(cols), block_(cols & -cols), signs_(static_cast<size_t>(cols)) {
  const float per_root = cols > 0 ? 1 / std::sqrt(static_cast<float>(block_)) : 0;
  // SplitMix64 (Steele, Lea & Flood 2014), seeded by the number of columns.
  auto state = static_cast<uint64_t>(cols);
  for (float& sign : signs_) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    sign = ((z ^ (z >> 31)) & 1) != 0 ? -per_root : per_root;
  }
}

void Rotation::apply(float* row) const {
  for (int64_t k = 0; k < cols_; ++k) row[k] *= signs_[static_cast<size_t>(k)];
  for (int64_t first = 0; first < cols_; first += block_) walsh_hadamard(row + first, block_);
}

void Rotation::undo(float* row) const {
  for (int64_t first = 0; first < cols_; first += block_) walsh_hadamard(row + first, block_);
  for (int64_t k = 0; k < cols_; ++k) row[k] *= signs_[static_cast<size_t>(k)];
}

}  // namespace mxq
