// Means with their standard errors, and quantiles.
#pragma once

#include <span>
#include <vector>

namespace mxq {

struct Mean {
  double value = 0;
  double error = 0;  // standard error; 0 of a single value
};

/// sum(w x) of weights that add up to 1, with the standard error that independent x of one variance give it:
/// sqrt(n / (n - 1) * sum(w^2 (x - mean)^2)). With equal weights that is sqrt(variance / n), variance with n - 1.
Mean weighted_mean(std::span<const double> values, std::span<const double> weights);

/// With equal weights.
Mean mean_of(std::span<const double> values);

/// The value below which a share q of the values (not none) lies, interpolated linearly between neighbours as numpy's
/// default does.
double quantile(std::vector<double> values, double q);

}  // namespace mxq
