// The core problem: what is left of an MCKP around its break solution, and one search of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "allocate/mckp.h"

namespace mxq::mckp {

/// An item of a class, relative to the class's item in the break solution.
struct Option {
  int64_t weight = 0;  // heavier by
  double loss = 0;     // cost - break cost + lambda * weight, >= 0: what choosing it loses against the relaxation
  int32_t item = 0;    // index in the class as given
};

/// With the multiplier lambda of the linear relaxation, the value of every feasible choice is
///   relaxed bound + sum of losses + lambda * unused capacity,
/// so that minimising cost is minimising the last two terms: the choice's loss.
struct Core {
  std::vector<std::vector<Option>> classes;  // each with its break item (weight 0, loss 0), sorted by weight
  std::vector<int32_t> shape;                // classes of one shape have equal weights, so their sums coincide
  int64_t slack = 0;                         // capacity the break solution leaves
  double lambda = 0;
};

struct Search {
  bool complete = false;  // no choice with a loss up to the limit was overlooked
  bool improved = false;
  double loss = 0;              // of the best choice found, if improved
  std::vector<int32_t> choice;  // item of each class, if improved
};

/// Finds the best choice of loss < `best` among at least all those of loss <= `limit`. Takes its work off
/// `steps_left`; where that or the memory does not suffice, stops with complete = false.
/// `beam` > 0 thins every list to that many states, which finds good choices cheaply but never completes.
Search search_core(const Core& core, double limit, double best, int64_t memory_bytes, int64_t& steps_left,
                   int64_t& states, size_t beam = 0);

}  // namespace mxq::mckp
