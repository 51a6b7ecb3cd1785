// What one matrix puts out that stands for several, a row a token.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/parallel.h"

namespace mxq {

/// Where one of them has its own: `width` numbers of each row; rows are `row` numbers apart.
template <typename T>
struct FusedPart {
  T* rows;
  int64_t row, width;
};

/// Calls body(number in the fused rows, where the part has it, how many) for all pieces. A fused row has `groups`
/// groups, such as heads, and of each of them a piece of every part in turn.
template <typename T, typename Body>
void for_each_piece(int64_t n, int64_t groups, std::span<const FusedPart<T>> parts, Body body) {
  int64_t whole = 0;
  for (const auto& part : parts) whole += part.width;
  parallel_for(n, [&](int64_t i) {
    int64_t at = i * whole;
    for (int64_t group = 0; group < groups; ++group) {
      for (const auto& part : parts) {
        const int64_t count = part.width / groups;
        body(at, part.rows + i * part.row + group * count, count);
        at += count;
      }
    }
  });
}

inline void split_rows(const float* fused, int64_t n, int64_t groups, std::span<const FusedPart<float>> parts) {
  for_each_piece(n, groups, parts, [&](int64_t at, float* to, int64_t count) { std::copy_n(fused + at, count, to); });
}

inline void join_rows(int64_t n, int64_t groups, std::span<const FusedPart<const float>> parts, float* fused) {
  for_each_piece(n, groups, parts,
                 [&](int64_t at, const float* from, int64_t count) { std::copy_n(from, count, fused + at); });
}

}  // namespace mxq
