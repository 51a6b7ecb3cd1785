// Dominance, lower convex hulls and the greedy walk along them: the linear relaxation of the MCKP.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "allocate/mckp.h"

namespace mxq::mckp {

/// An item of a class with its place in the class as given.
struct Candidate {
  double cost = 0;
  int64_t weight = 0;
  int32_t index = 0;
};

/// The items that no other item of the class equals or beats in both weight and cost, in order of weight (so of
/// strictly falling cost). Of equal items the first stays.
std::vector<Candidate> undominated(std::span<const Item> items);

/// Positions in `candidates` (as undominated() gives them) of the vertices of their lower convex hull: the only items
/// that a fractional solution uses besides mixtures of two neighbours. First and last are always among them.
std::vector<int32_t> lower_hull(std::span<const Candidate> candidates);

/// One step along a class's hull, to the next heavier and cheaper vertex.
struct Increment {
  int32_t group = 0;  // the class
  int32_t from = 0;   // position in the class's candidates
  int32_t to = 0;
  int64_t weight = 0;     // > 0
  double efficiency = 0;  // cost saved per unit of weight, > 0; falls strictly along a class
};

/// The steps of all classes in the order in which the greedy walk takes them: by falling efficiency, then by class.
/// Every prefix is a Lagrangian-optimal choice.
std::vector<Increment> greedy_order(std::span<const std::vector<Candidate>> classes);

}  // namespace mxq::mckp
