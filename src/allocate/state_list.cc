#include "allocate/state_list.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mxq::mckp {

void merge_runs(StateList& states, std::vector<size_t>& runs, StateList& scratch) {
  const auto lighter = [](const State& a, const State& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.loss < b.loss;
  };
  std::vector<size_t> merged;
  while (runs.size() > 2) {
    scratch.resize(states.size());
    merged.assign(1, 0);
    for (size_t i = 0; i + 1 < runs.size(); i += 2) {
      const size_t begin = runs[i], middle = runs[i + 1], end = i + 2 < runs.size() ? runs[i + 2] : middle;
      std::merge(states.begin() + begin, states.begin() + middle, states.begin() + middle, states.begin() + end,
                 scratch.begin() + begin, lighter);
      merged.push_back(end);
    }
    std::swap(states, scratch);
    std::swap(runs, merged);
  }
}

void drop_dominated(StateList& states, double lambda) {
  size_t kept = 0;
  for (const State& s : states) {
    // cost = loss - lambda * weight, up to a constant; the last state kept is the cheapest so far.
    if (kept > 0) {
      const State& best = states[kept - 1];
      if (s.loss >= best.loss + lambda * static_cast<double>(s.weight - best.weight)) continue;
    }
    states[kept++] = s;
  }
  states.resize(kept);
}

void CostFloor::rebuild(const StateList& states) {
  constexpr size_t kBuckets = size_t{1} << 14;
  least_.clear();
  if (states.size() < 2) return;
  lightest_ = static_cast<double>(states.front().weight);
  scale_ = static_cast<double>(kBuckets - 1) / (static_cast<double>(states.back().weight) - lightest_);
  if (!std::isfinite(scale_)) return;
  least_.assign(kBuckets, std::numeric_limits<double>::infinity());
  for (const State& s : states) {
    const auto weight = static_cast<double>(s.weight);
    const auto bucket = std::min(static_cast<size_t>((weight - lightest_) * scale_), kBuckets - 1);
    if (bucket + 1 < kBuckets) least_[bucket + 1] = std::min(least_[bucket + 1], s.loss - lambda_ * weight);
  }
  for (size_t i = 1; i < kBuckets; ++i) least_[i] = std::min(least_[i], least_[i - 1]);
}

void drop_hopeless(StateList& states, const LossBound& bound, double limit) {
  const Curve &over = bound.over, &under = bound.under;
  const auto at = [](const Curve& curve, size_t i, double x) {
    const double slope =
        i + 1 < curve.x.size() ? (curve.y[i + 1] - curve.y[i]) / (curve.x[i + 1] - curve.x[i]) : curve.tail;
    return curve.y[i] + slope * (x - curve.x[i]);
  };
  size_t kept = 0, o = over.x.size() - 1, u = 0;
  for (const State& s : states) {
    const auto room = static_cast<double>(bound.slack - s.weight);
    double least;
    if (room >= 0) {
      while (o > 0 && over.x[o] > room) --o;
      least = at(over, o, room);
    } else {
      while (u + 1 < under.x.size() && under.x[u + 1] < -room) ++u;
      // Sums of weights in double may be off by a few units in the last place; only a clear excess is hopeless.
      if (u + 1 == under.x.size()) {
        if (-room > under.x[u] * (1 + 1e-9)) break;  // and so are all heavier ones
        least = under.y[u];
      } else {
        least = at(under, u, -room);
      }
    }
    if (s.loss + least <= limit) states[kept++] = s;
  }
  states.resize(kept);
}

}  // namespace mxq::mckp
