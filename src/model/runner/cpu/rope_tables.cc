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

void RopeTable::rotate(float* head, int64_t position) const {
  rotate_pairs(head, cos_.data() + position * half(), sin_.data() + position * half(), half());
}

void RopeTable::rotate_back(float* head, int64_t position) const {
  rotate_pairs(head, cos_.data() + position * half(), minus_sin_.data() + position * half(), half());
}

RopeTables::RopeTables(RopeShape shape) : shape_(std::move(shape)) {
  of(0);
}

const RopeTable* RopeTables::of(int64_t length) {
  RopeTable& table =
      tables_.try_emplace(rope_kind(shape_, length), RopeTable(rope_angles(shape_, length))).first->second;
  table.reserve(length);
  return &table;
}

bool RopeTables::differ(int64_t length, int64_t other) const {
  return rope_kind(shape_, length) != rope_kind(shape_, other);
}

void RopeTables::forget() {
  std::erase_if(tables_, [](const auto& entry) { return entry.first > 1; });  // dynamic: one for each length
}

}  // namespace mxq
