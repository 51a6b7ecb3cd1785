#include "evaluate/summary.h"

#include <algorithm>
#include <cmath>

namespace mxq {

Mean weighted_mean(std::span<const double> values, std::span<const double> weights) {
  Mean mean;
  for (size_t i = 0; i < values.size(); ++i) mean.value += weights[i] * values[i];
  if (values.size() < 2) return mean;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double weighted = weights[i] * (values[i] - mean.value);
    squares += weighted * weighted;
  }
  const auto n = static_cast<double>(values.size());
  mean.error = std::sqrt(squares * n / (n - 1));
  return mean;
}

Mean mean_of(std::span<const double> values) {
  return weighted_mean(values, std::vector<double>(values.size(), 1 / static_cast<double>(values.size())));
}

double quantile(std::vector<double> values, double q) {
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(low);
  std::nth_element(values.begin(), middle, values.end());
  if (middle + 1 == values.end()) return *middle;
  const double next = *std::min_element(middle + 1, values.end());
  return *middle + (at - static_cast<double>(low)) * (next - *middle);
}

}  // namespace mxq
