#include "schemes/codebook/lloyd_max.h"

#include <array>
#include <cmath>

namespace mxq::codebook {

namespace {

/// Density and upper tail of the standard normal distribution; both 0 at infinity.
double density(double x) {
  return std::isinf(x) ? 0 : std::exp(-0.5 * x * x) * 0.3989422804014327;
}
double tail(double x) {
  return std::isinf(x) ? 0 : 0.5 * std::erfc(x * 0.7071067811865476);
}

std::vector<float> find_levels(int bits) {
  // The upper half; the lower one mirrors it. Lloyd's iteration, each level to the mean of its cell.
  const size_t half = size_t{1} << (bits - 1);
  std::vector<double> levels(half);
  for (size_t i = 0; i < half; ++i) levels[i] = 3.0 * (static_cast<double>(i) + 0.5) / static_cast<double>(half);
  constexpr int kRounds = 200000;
  for (int round = 0; round < kRounds; ++round) {
    double moved = 0, low = 0;
    for (size_t i = 0; i < half; ++i) {
      const double high = i + 1 < half ? 0.5 * (levels[i] + levels[i + 1]) : INFINITY;
      const double mean = (density(low) - density(high)) / (tail(low) - tail(high));
      moved = std::fmax(moved, std::fabs(mean - levels[i]));
      levels[i] = mean;
      low = high;
    }
    if (moved < 1e-12) break;
  }
  std::vector<float> all;
  for (size_t i = half; i > 0; --i) all.push_back(static_cast<float>(-levels[i - 1]));
  for (const double level : levels) all.push_back(static_cast<float>(level));
  return all;
}

}  // namespace

const std::vector<float>& lloyd_max_levels(int bits) {
  static const auto all = [] {
    std::array<std::vector<float>, 5> levels;
    for (int b = 1; b <= 4; ++b) levels[static_cast<size_t>(b)] = find_levels(b);
    return levels;
  }();
  return all.at(static_cast<size_t>(bits));
}

}  // namespace mxq::codebook
