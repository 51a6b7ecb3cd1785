#include "evaluate/summary.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mxq {

namespace {

/// sqrt(sum((w (x - mean))^2) * n / (n - 1)); w(i) is the weight of value i.
template <typename Weight>
double standard_error(std::span<const double> values, double mean, const Weight& w) {
  if (values.size() < 2) return 0;
  double squares = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double weighted = w(i) * (values[i] - mean);
    squares += weighted * weighted;
  }
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares * n / (n - 1));
}

}  // namespace

Mean weighted_mean(std::span<const double> values, std::span<const double> weights) {
  const double mean = std::inner_product(values.begin(), values.end(), weights.begin(), 0.0);
  return {mean, standard_error(values, mean, [&](size_t i) { return weights[i]; })};
}

// Divides once, so that the mean of equal values is that value.
Mean mean_of(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  return {mean, standard_error(values, mean, [n](size_t) { return 1 / n; })};
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
