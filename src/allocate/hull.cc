#include "allocate/hull.h"

#include <algorithm>

namespace mxq::mckp {

std::vector<Candidate> undominated(std::span<const Item> items) {
  std::vector<Candidate> sorted(items.size());
  for (size_t i = 0; i < items.size(); ++i) sorted[i] = {items[i].cost, items[i].weight, static_cast<int32_t>(i)};
  std::stable_sort(sorted.begin(), sorted.end(), [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight < b.weight : a.cost < b.cost;
  });
  std::vector<Candidate> kept;
  for (const Candidate& c : sorted) {
    if (kept.empty() || c.cost < kept.back().cost) kept.push_back(c);
  }
  return kept;
}

namespace {

double slope(const Candidate& light, const Candidate& heavy) {
  return (light.cost - heavy.cost) / static_cast<double>(heavy.weight - light.weight);
}

}  // namespace

std::vector<int32_t> lower_hull(std::span<const Candidate> candidates) {
  std::vector<int32_t> hull;
  for (size_t i = 0; i < candidates.size(); ++i) {
    while (hull.size() >= 2) {
      const Candidate& last = candidates[hull.back()];
      const Candidate& before = candidates[hull[hull.size() - 2]];
      // Compared as the slopes that greedy_order stores, so that these fall strictly along a class.
      if (slope(last, candidates[i]) < slope(before, last)) break;
      hull.pop_back();
    }
    hull.push_back(static_cast<int32_t>(i));
  }
  return hull;
}

std::vector<Increment> greedy_order(std::span<const std::vector<Candidate>> classes) {
  std::vector<Increment> increments;
  for (size_t k = 0; k < classes.size(); ++k) {
    const auto& items = classes[k];
    const auto hull = lower_hull(items);
    for (size_t h = 1; h < hull.size(); ++h) {
      const Candidate &from = items[hull[h - 1]], &to = items[hull[h]];
      increments.push_back({static_cast<int32_t>(k), hull[h - 1], hull[h], to.weight - from.weight, slope(from, to)});
    }
  }
  std::stable_sort(increments.begin(), increments.end(),
                   [](const Increment& a, const Increment& b) { return a.efficiency > b.efficiency; });
  return increments;
}

}  // namespace mxq::mckp
