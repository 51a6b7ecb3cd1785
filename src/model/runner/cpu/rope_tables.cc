#include "model/runner/cpu/rope_tables.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/rows.h"

namespace mxq {

void RopeTable::reserve(int64_t positions) {
  for (auto position = static_cast<int64_t>(cos_.size()) / std::max<int64_t>(1, half()); position < positions;
       ++position) {
    for (const double frequency : angles_.frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      cos_.push_back(static_cast<float>(angles_.scale * std::cos(angle)));
      sin_.push_back(static_cast<float>(angles_.scale * std::sin(angle)));
      minus_sin_.push_back(-sin_.back());
    }
  }
}

void RopeTable::turn(float* head, int64_t position, const std::vector<float>& sin) const {
  const int64_t at = position * half();
  (neighbours_ ? rotate_neighbours : rotate_pairs)(head, cos_.data() + at, sin.data() + at, half());
}

void RopeTable::rotate(float* head, int64_t position) const {
  turn(head, position, sin_);
}

void RopeTable::rotate_back(float* head, int64_t position) const {
  turn(head, position, minus_sin_);
}

RopeTables::RopeTables(RopeShape shape, bool neighbours) : shape_(std::move(shape)), neighbours_(neighbours) {
  of(0);
}

const RopeTable* RopeTables::of(int64_t length) {
  const int64_t kind = rope_kind(shape_, length);
  auto found = tables_.find(kind);
  if (found == tables_.end()) {
    found = tables_.emplace(kind, RopeTable(rope_angles(shape_, length), neighbours_)).first;
  }
  found->second.reserve(length);
  return &found->second;
}

bool RopeTables::differ(int64_t length, int64_t other) const {
  return rope_kind(shape_, length) != rope_kind(shape_, other);
}

void RopeTables::forget() {
  std::erase_if(tables_, [](const auto& entry) { return entry.first > 1; });  // dynamic: one for each length
}

}  // namespace mxq
