// What is done to rows of weights beside coding them. As with tiles (affine_tile.h), no kernel fuses multiply and add,
// and the `ref` twins give the same bits.
#pragma once

#include <cstdint>

namespace mxq {

#define MXQ_WEIGHT_ROW_KERNELS                                                                                   \
  /* x = H x, H the Walsh-Hadamard matrix of n (a power of two, or 0) in its natural order, of 1 and -1: element \
     (i, j) is the parity of i & j. */                                                                           \
  void walsh_hadamard(float* x, int64_t n);                                                                      \
  /* sum((a - b)^2) in fp64: eight sums, of every eighth element each, added in a fixed order. */                \
  double squared_distance(const float* a, const float* b, int64_t n);

MXQ_WEIGHT_ROW_KERNELS

namespace ref {
MXQ_WEIGHT_ROW_KERNELS
}

}  // namespace mxq
