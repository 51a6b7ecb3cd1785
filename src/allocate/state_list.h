// Lists of partial choices: the dynamic programme's states.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mxq::mckp {

/// A choice for some of the classes. Weight and loss are relative to the break solution (see core.h).
struct State {
  int64_t weight = 0;
  double loss = 0;     // >= 0
  uint32_t left = 0;   // where it came from: a state of the layer before ...
  uint32_t right = 0;  // ... and an option of the class, or a state of the other layer
};

/// Sorted by weight, none dominated: each costs less than every lighter one.
using StateList = std::vector<State>;

/// A convex piecewise linear function through (0, 0) on x >= 0; beyond the last point it goes on with `tail`
/// (infinity: nothing lies beyond).
struct Curve {
  std::vector<double> x{0}, y{0};
  double tail = 0;

  void append(double width, double slope) {
    x.push_back(x.back() + width);
    y.push_back(y.back() + width * slope);
  }
};

/// The least loss that the classes not yet decided must add, by the linear relaxation, for the residual capacity that
/// a state leaves: `over` where they may grow by it, `under` where they must shrink by it.
struct LossBound {
  Curve over, under;
  int64_t slack = 0;
};

/// Merges `runs` (each a range of `states` sorted by weight, given by its first position; the last entry is the end).
void merge_runs(StateList& states, std::vector<size_t>& runs, StateList& scratch);

/// Drops the states that a lighter or equally heavy one beats in cost. `lambda` turns loss back into cost.
void drop_dominated(StateList& states, double lambda);

/// A quick look whether a list holds a state that dominates another: by a table of the least cost below some weights,
/// so that it may miss one, but never finds one that is not there.
class CostFloor {
 public:
  explicit CostFloor(double lambda) : lambda_(lambda) {}
  void rebuild(const StateList& states);
  bool beats(const State& state) const {
    if (least_.empty()) return false;
    const auto weight = static_cast<double>(state.weight);
    const double place = (weight - lightest_) * scale_;
    if (!(place >= 0)) return false;
    const size_t bucket = place < static_cast<double>(least_.size()) ? static_cast<size_t>(place) : least_.size() - 1;
    return state.loss - lambda_ * weight >= least_[bucket];
  }

 private:
  double lambda_, lightest_ = 0, scale_ = 0;
  std::vector<double> least_;  // of the states in lower buckets, so surely lighter
};

/// Drops the states that cannot be part of a choice whose loss is at most `limit`.
void drop_hopeless(StateList& states, const LossBound& bound, double limit);

}  // namespace mxq::mckp
