// k-means of weighted values on a line, solved exactly.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mxq::codebook {

/// Values that lie so close together that no two levels part them.
struct Bin {
  double weight = 0;   // sum of w
  double sum = 0;      // of w x
  double squares = 0;  // of w x^2
};

/// The levels, ascending, of which the nearest to each value costs least in all: sum of w (x - level)^2 over partitions
/// of the bins into at most k runs. Bins are strictly ascending in x, of positive weight. Fewer levels than k where
/// there are fewer bins. Dynamic programming over runs, each step by divide and conquer, as the best begin of the last
/// run moves right with its end (Wang & Song, "Ckmeans.1d.dp", 2011; Gronlund et al., arXiv 1701.07204): O(k n log n).
std::vector<double> kmeans_1d(std::span<const Bin> bins, int k);

}  // namespace mxq::codebook
