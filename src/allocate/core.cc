#include "allocate/core.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "allocate/hull.h"
#include "allocate/state_list.h"

namespace mxq::mckp {

namespace {

struct OutOfBudget {};

/// How the states of one list came to be; kept for all lists so that the best choice can be read back.
struct Layer {
  int32_t left = -1;   // layer extended or joined; -1: the empty choice
  int32_t right = -1;  // layer joined; -1: a class was added
  int32_t group = -1;  // that class
  std::vector<std::pair<uint32_t, uint32_t>> origins;
};

/// A list with its layer and the classes it decides.
struct Part {
  StateList states{State{}};
  int32_t layer = -1;
  std::vector<int32_t> groups;
};

class CoreSearch {
 public:
  CoreSearch(const Core& core, double limit, double best, int64_t memory_bytes, int64_t& steps_left, int64_t& states)
      : core_(core),
        // Pruning compares sums of rounded numbers: keep what lies a hair beyond the limit.
        limit_(limit * (1 + 1e-9)),
        memory_left_(memory_bytes),
        steps_left_(steps_left),
        states_(states) {
    result_.loss = best;
  }

  Search run() {
    try {
      reduce();
      std::vector<Part> parts = decide_shapes();
      join_to_three(parts);
      combine(parts);
      result_.complete = true;
    } catch (const OutOfBudget&) {
      result_.complete = false;
    }
    return std::move(result_);
  }

 private:
  struct Slope {
    int32_t group;
    double width, slope;
  };

  /// Keeps the options that a choice within the limit may use, and the relaxation over them.
  void reduce() {
    const size_t n = core_.classes.size();
    options_.resize(n);
    for (size_t k = 0; k < n; ++k) {
      for (const Option& o : core_.classes[k]) {
        if (o.loss <= limit_) options_[k].push_back(o);
      }
      if (options_[k].size() == 1) continue;
      add_slopes(
          static_cast<int32_t>(k), [](const Option& o) { return o.weight >= 0; }, over_);
      add_slopes(
          static_cast<int32_t>(k), [](const Option& o) { return o.weight <= 0; }, under_);
    }
    const auto flatter = [](const Slope& a, const Slope& b) { return a.slope < b.slope; };
    std::stable_sort(over_.begin(), over_.end(), flatter);
    std::stable_sort(under_.begin(), under_.end(), flatter);
  }

  /// The hull's steps away from the break item on one side of it.
  template <typename Side>
  void add_slopes(int32_t k, Side side, std::vector<Slope>& slopes) const {
    std::vector<Candidate> candidates;
    for (const Option& o : options_[k]) {
      if (side(o)) candidates.push_back({o.loss - core_.lambda * static_cast<double>(o.weight), o.weight, o.item});
    }
    const auto hull = lower_hull(candidates);
    for (size_t h = 1; h < hull.size(); ++h) {
      const Candidate &from = candidates[hull[h - 1]], &to = candidates[hull[h]];
      const auto width = static_cast<double>(to.weight - from.weight);
      slopes.push_back({k, width, std::abs((to.cost - from.cost) / width + core_.lambda)});
    }
  }

  LossBound bound_without(const std::vector<int32_t>& groups) {
    std::vector<char> decided(core_.classes.size(), 0);
    for (const int32_t k : groups) decided[k] = 1;
    LossBound bound;
    bound.slack = core_.slack;
    for (const Slope& s : over_) {
      // Capacity left unused costs lambda a unit.
      if (!decided[s.group] && s.slope < core_.lambda) bound.over.append(s.width, s.slope);
    }
    for (const Slope& s : under_) {
      if (!decided[s.group]) bound.under.append(s.width, s.slope);
    }
    bound.over.tail = core_.lambda;
    bound.under.tail = std::numeric_limits<double>::infinity();
    return bound;
  }

  void spend(size_t states) {
    const auto n = static_cast<int64_t>(states);
    states_ += n;
    steps_left_ -= n;
    if (steps_left_ < 0) throw OutOfBudget{};
  }

  void push(StateList& out, const State& s) {
    // Two lists of the largest size live at a time while runs are merged.
    if (static_cast<int64_t>(2 * sizeof(State) * (out.size() + 1)) > memory_left_) throw OutOfBudget{};
    out.push_back(s);
  }

  /// Takes dominated and hopeless states out of next_ and makes it the part's list.
  void settle(Part& part, std::vector<size_t>& runs, int32_t left, int32_t right, int32_t group) {
    spend(next_.size());
    merge_runs(next_, runs, scratch_);
    drop_dominated(next_, core_.lambda);
    drop_hopeless(next_, bound_without(part.groups), limit_);
    Layer layer{left, right, group, {}};
    memory_left_ -= static_cast<int64_t>(next_.size() * sizeof(layer.origins[0]));
    if (memory_left_ < 0) throw OutOfBudget{};
    layer.origins.reserve(next_.size());
    for (const State& s : next_) layer.origins.emplace_back(s.left, s.right);
    part.layer = static_cast<int32_t>(layers_.size());
    layers_.push_back(std::move(layer));
    std::swap(part.states, next_);
  }

  void extend(Part& part, int32_t k) {
    next_.clear();
    std::vector<size_t> runs;
    for (size_t o = 0; o < options_[k].size(); ++o) {
      const Option& option = options_[k][o];
      runs.push_back(next_.size());
      for (size_t i = 0; i < part.states.size(); ++i) {
        const State& s = part.states[i];
        State sum{0, s.loss + option.loss, static_cast<uint32_t>(i), static_cast<uint32_t>(o)};
        if (sum.loss > limit_ || __builtin_add_overflow(s.weight, option.weight, &sum.weight)) continue;
        push(next_, sum);
      }
    }
    runs.push_back(next_.size());
    part.groups.push_back(k);
    settle(part, runs, part.layer, -1, k);
  }

  Part join(const Part& a, const Part& b) {
    next_.clear();
    std::vector<size_t> runs;
    for (size_t i = 0; i < a.states.size(); ++i) {
      const State& s = a.states[i];
      runs.push_back(next_.size());
      for (size_t j = 0; j < b.states.size(); ++j) {
        const State& t = b.states[j];
        State sum{0, s.loss + t.loss, static_cast<uint32_t>(i), static_cast<uint32_t>(j)};
        if (sum.loss > limit_ || __builtin_add_overflow(s.weight, t.weight, &sum.weight)) continue;
        push(next_, sum);
      }
      spend(b.states.size());
    }
    runs.push_back(next_.size());
    Part joined;
    joined.groups = a.groups;
    joined.groups.insert(joined.groups.end(), b.groups.begin(), b.groups.end());
    settle(joined, runs, a.layer, b.layer, -1);
    return joined;
  }

  /// One list a shape: within a shape the sums of weights coincide, so lists stay short however many classes it has.
  std::vector<Part> decide_shapes() {
    std::map<int32_t, std::vector<int32_t>> shapes;
    for (size_t k = 0; k < options_.size(); ++k) {
      if (options_[k].size() > 1) shapes[core_.shape[k]].push_back(static_cast<int32_t>(k));
    }
    std::vector<Part> parts;
    for (auto& [shape, groups] : shapes) {
      // Costly deviations first: they multiply the states least while these are few.
      std::stable_sort(groups.begin(), groups.end(), [&](int32_t a, int32_t b) { return ease(a) > ease(b); });
      Part part;
      for (const int32_t k : groups) extend(part, k);
      parts.push_back(std::move(part));
    }
    return parts;
  }

  /// Least loss of leaving the break item.
  double ease(int32_t k) const {
    double least = std::numeric_limits<double>::infinity();
    for (const Option& o : options_[k]) {
      if (o.weight != 0) least = std::min(least, o.loss);
    }
    return least;
  }

  static void sort_by_size(std::vector<Part>& parts) {
    std::stable_sort(parts.begin(), parts.end(),
                     [](const Part& a, const Part& b) { return a.states.size() < b.states.size(); });
  }

  void join_to_three(std::vector<Part>& parts) {
    while (parts.size() > 3) {
      sort_by_size(parts);
      parts[1] = join(parts[0], parts[1]);
      parts.erase(parts.begin());
    }
    while (parts.size() < 3) parts.emplace_back();
    sort_by_size(parts);
  }

  /// The best triple: for every state of the first list one walk over the other two, up the second and down the third.
  void combine(const std::vector<Part>& parts) {
    struct Place {
      int64_t weight;
      double loss;
      uint32_t at;
    };
    const auto places = [](const StateList& states) {
      std::vector<Place> list;
      for (size_t i = 0; i < states.size(); ++i) {
        list.push_back({states[i].weight, states[i].loss, static_cast<uint32_t>(i)});
      }
      return list;
    };
    std::vector<Place> first = places(parts[0].states), second = places(parts[1].states),
                       third = places(parts[2].states);
    std::stable_sort(first.begin(), first.end(), [](const Place& a, const Place& b) { return a.loss < b.loss; });
    uint32_t found[3] = {0, 0, 0};
    double thinned_at = std::numeric_limits<double>::infinity();
    for (const Place& a : first) {
      double allowed = std::min(result_.loss, limit_) - a.loss;
      if (allowed < 0) break;
      if (allowed < 0.9 * thinned_at) {
        const auto hopeless = [&](const Place& p) { return p.loss > allowed; };
        std::erase_if(second, hopeless);
        std::erase_if(third, hopeless);
        thinned_at = allowed;
      }
      spend_pairs(second.size() + third.size());
      size_t t = third.size();
      for (const Place& b : second) {
        int64_t room;
        if (__builtin_sub_overflow(core_.slack - a.weight, b.weight, &room)) continue;
        while (t > 0 && third[t - 1].weight > room) --t;
        if (t == 0) break;
        // The heaviest that fits is the cheapest that fits.
        const Place& c = third[t - 1];
        const double loss = a.loss + b.loss + c.loss + core_.lambda * static_cast<double>(room - c.weight);
        if (loss < result_.loss) {
          result_.loss = loss;
          result_.improved = true;
          found[0] = a.at, found[1] = b.at, found[2] = c.at;
        }
      }
    }
    if (!result_.improved) return;
    result_.choice.resize(core_.classes.size());
    for (size_t k = 0; k < core_.classes.size(); ++k) {
      for (const Option& o : core_.classes[k]) {
        if (o.weight == 0 && o.loss == 0) result_.choice[k] = o.item;
      }
    }
    for (int p = 0; p < 3; ++p) read_back(parts[p].layer, found[p]);
  }

  void spend_pairs(size_t n) {
    steps_left_ -= static_cast<int64_t>(n);
    if (steps_left_ < 0) throw OutOfBudget{};
  }

  void read_back(int32_t layer, uint32_t state) {
    while (layer >= 0) {
      const Layer& l = layers_[layer];
      const auto [left, right] = l.origins[state];
      if (l.right >= 0) {
        read_back(l.right, right);
      } else {
        result_.choice[l.group] = options_[l.group][right].item;
      }
      layer = l.left;
      state = left;
    }
  }

  const Core& core_;
  const double limit_;
  int64_t memory_left_;
  int64_t& steps_left_;
  int64_t& states_;
  std::vector<std::vector<Option>> options_;
  std::vector<Slope> over_, under_;  // the relaxation's steps away from the break solution, flattest first
  std::vector<Layer> layers_;
  StateList next_, scratch_;
  Search result_;
};

}  // namespace

Search search_core(const Core& core, double limit, double best, int64_t memory_bytes, int64_t& steps_left,
                   int64_t& states) {
  return CoreSearch(core, limit, best, memory_bytes, steps_left, states).run();
}

}  // namespace mxq::mckp
