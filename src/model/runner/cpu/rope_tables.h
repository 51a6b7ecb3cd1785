// Cosines and sines of rotary position embedding. Of the dimensions that rotate, element i is paired with element
// i + half, or, where neighbours are, 2i with 2i + 1.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "model/rope.h"

namespace mxq {

/// Of texts that have the same angles.
class RopeTable {
 public:
  RopeTable(RopeAngles angles, bool neighbours) : angles_(std::move(angles)), neighbours_(neighbours) {}

  /// Rotates the first dimensions of a head at `position`.
  void rotate(float* head, int64_t position) const;
  /// What that does to a gradient.
  void rotate_back(float* head, int64_t position) const;
  /// Makes the table reach to `positions`; the two above may only be called below.
  void reserve(int64_t positions);

 private:
  int64_t half() const { return static_cast<int64_t>(angles_.frequencies.size()); }

  void turn(float* head, int64_t position, const std::vector<float>& sin) const;

  RopeAngles angles_;
  bool neighbours_;
  std::vector<float> cos_, sin_, minus_sin_;  // [positions, half]
};

/// The tables of a model.
class RopeTables {
 public:
  /// Throws as rope_angles().
  RopeTables(RopeShape shape, bool neighbours);

  /// Of a text of `length` tokens, long enough for it. Stays where it is until the next forget().
  const RopeTable* of(int64_t length);
  /// Whether texts of these two lengths have other angles, so that keys rotated for the one are of no use to the other.
  bool differ(int64_t length, int64_t other) const;
  /// Drops tables that hardly another text will have.
  void forget();

 private:
  RopeShape shape_;
  bool neighbours_;
  std::map<int64_t, RopeTable> tables_;  // by rope_kind()
};

}  // namespace mxq
