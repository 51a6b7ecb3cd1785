#include "allocate/core.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
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
  CoreSearch(const Core& core, double limit, double best, int64_t memory_bytes, int64_t& steps_left, int64_t& states,
             size_t beam)
      : core_(core),
        // Pruning compares sums of rounded numbers: keep what lies a hair beyond the limit.
        limit_(limit * (1 + 1e-9)),
        memory_left_(memory_bytes),
        steps_left_(steps_left),
        states_(states),
        beam_(beam) {
    result_.loss = best;
  }

  Search run() {
    try {
      reduce();
      std::vector<Part> parts = decide_shapes();
      join_to_three(parts);
      combine(parts);
      result_.complete = beam_ == 0;
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
    states_ += static_cast<int64_t>(states);
    spend_steps(states);
  }

  void spend_steps(size_t n) {
    steps_left_ -= static_cast<int64_t>(n);
    if (steps_left_ < 0) throw OutOfBudget{};
  }

  void push(const State& s) {
    // Up to four lists of the largest size live at a time, the room to grow included.
    if (static_cast<int64_t>(4 * sizeof(State) * (next_.size() + 1)) > memory_left_) throw OutOfBudget{};
    next_.push_back(s);
  }

  /// Makes next_, which consists of sorted runs, one list without dominated states and, where the list is long enough
  /// to repay setting up the bound, without hopeless ones.
  void prune(std::vector<size_t>& runs, const std::vector<int32_t>& groups) {
    spend(next_.size());
    merge_runs(next_, runs, scratch_);
    drop_dominated(next_, core_.lambda);
    if (next_.size() * 4 > over_.size() + under_.size()) drop_hopeless(next_, bound_without(groups), limit_);
    if (beam_ > 0 && next_.size() > beam_) {
      for (size_t i = 0; i < beam_; ++i) next_[i] = next_[i * next_.size() / beam_];  // all over the weights
      next_.resize(beam_);
    }
  }

  /// Makes next_ the part's list.
  void settle(Part& part, int32_t left, int32_t right, int32_t group) {
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
        push(sum);
      }
    }
    runs.push_back(next_.size());
    part.groups.push_back(k);
    prune(runs, part.groups);
    settle(part, part.layer, -1, k);
  }

  /// All pairs of states, few of which survive: they are pruned a block at a time, and what earlier blocks left keeps
  /// most of the later pairs out.
  Part join(const Part& a, const Part& b) {
    constexpr size_t kBlock = size_t{1} << 12;
    Part joined;
    joined.groups = a.groups;
    joined.groups.insert(joined.groups.end(), b.groups.begin(), b.groups.end());
    std::vector<uint32_t> first(a.states.size()), second(b.states.size());
    std::iota(first.begin(), first.end(), 0);
    std::iota(second.begin(), second.end(), 0);
    // Small losses first: they make the list that rules out the rest.
    std::stable_sort(first.begin(), first.end(),
                     [&](uint32_t i, uint32_t j) { return a.states[i].loss < a.states[j].loss; });
    next_.clear();
    std::vector<size_t> runs{0};
    size_t kept = 0;  // states of next_ that earlier blocks left
    CostFloor floor(core_.lambda);
    for (const uint32_t i : first) {
      const State& s = a.states[i];
      std::erase_if(second, [&](uint32_t j) { return s.loss + b.states[j].loss > limit_; });
      runs.push_back(next_.size());
      for (const uint32_t j : second) {
        const State& t = b.states[j];
        State sum{0, s.loss + t.loss, i, j};
        if (__builtin_add_overflow(s.weight, t.weight, &sum.weight) || floor.beats(sum)) continue;
        push(sum);
      }
      spend_steps(second.size());
      if (next_.size() - kept > std::max(kBlock, kept)) {
        runs.push_back(next_.size());
        prune(runs, joined.groups);
        floor.rebuild(next_);
        kept = next_.size();
        runs = {0};
      }
    }
    runs.push_back(next_.size());
    prune(runs, joined.groups);
    settle(joined, a.layer, b.layer, -1);
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
      spend_steps(second.size() + third.size());
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
  const size_t beam_;
  std::vector<std::vector<Option>> options_;
  std::vector<Slope> over_, under_;  // the relaxation's steps away from the break solution, flattest first
  std::vector<Layer> layers_;
  StateList next_, scratch_;
  Search result_;
};

}  // namespace

Search search_core(const Core& core, double limit, double best, int64_t memory_bytes, int64_t& steps_left,
                   int64_t& states, size_t beam) {
  return CoreSearch(core, limit, best, memory_bytes, steps_left, states, beam).run();
}

}  // namespace mxq::mckp
