#include "schemes/codebook/kmeans_1d.h"

#include <algorithm>
#include <limits>

namespace mxq::codebook {

namespace {

class Solver {
 public:
  Solver(std::span<const Bin> bins, int k)
      : bins_(bins), n_(static_cast<int32_t>(bins.size())), k_(std::min<int32_t>(k, n_)), sums_(bins.size() + 1) {
    for (size_t i = 0; i < bins.size(); ++i) {
      sums_[i + 1] = sum_of(sums_[i], bins[i]);
    }
    begins_.assign(static_cast<size_t>(k_), std::vector<int32_t>(bins.size() + 1));
    best_.resize(bins.size() + 1);
    for (int32_t end = 1; end <= n_; ++end) best_[end] = cost(0, end);
    std::vector<double> next(best_.size());
    for (level_ = 1; level_ < k_; ++level_) {
      fill(level_ + 1, n_, level_, n_ - 1, next);
      std::swap(best_, next);
    }
  }

  std::vector<double> levels() const {
    std::vector<double> means;
    int32_t end = n_;
    for (int32_t level = k_ - 1; level >= 0; --level) {
      const int32_t begin = level == 0 ? 0 : begins_[level][end];
      Bin run;  // summed anew: what is left of small weights in a difference of large sums may be nothing
      for (int32_t i = begin; i < end; ++i) run = sum_of(run, bins_[static_cast<size_t>(i)]);
      means.push_back(run.sum / run.weight);
      end = begin;
    }
    std::reverse(means.begin(), means.end());
    return means;
  }

 private:
  static Bin sum_of(const Bin& a, const Bin& b) { return {a.weight + b.weight, a.sum + b.sum, a.squares + b.squares}; }

  /// What the bins [begin, end) cost with one level, to the rounding of the sums over all: bins whose whole weight is
  /// lost in that cost nothing.
  double cost(int32_t begin, int32_t end) const {
    const double weight = sums_[end].weight - sums_[begin].weight, sum = sums_[end].sum - sums_[begin].sum;
    if (weight == 0) return 0;
    return sums_[end].squares - sums_[begin].squares - sum * sum / weight;
  }

  /// next[end] for first <= end <= last: with one run more, which begins at low to high.
  void fill(int32_t first, int32_t last, int32_t low, int32_t high, std::vector<double>& next) {
    if (first > last) return;
    const int32_t end = first + (last - first) / 2;
    double least = std::numeric_limits<double>::infinity();
    int32_t best = low;
    for (int32_t begin = low; begin <= std::min(high, end - 1); ++begin) {
      const double all = best_[begin] + cost(begin, end);
      if (all < least) {
        least = all;
        best = begin;
      }
    }
    next[end] = least;
    begins_[level_][end] = best;
    fill(first, end - 1, low, best, next);
    fill(end + 1, last, best, high, next);
  }

  std::span<const Bin> bins_;
  int32_t n_, k_, level_ = 0;
  std::vector<Bin> sums_;                     // of the first i bins
  std::vector<double> best_;                  // of the first i bins, with as many runs as done
  std::vector<std::vector<int32_t>> begins_;  // of the last run, by level and end
};

}  // namespace

std::vector<double> kmeans_1d(std::span<const Bin> bins, int k) {
  if (bins.empty() || k < 1) return {};
  return Solver(bins, k).levels();
}

}  // namespace mxq::codebook
