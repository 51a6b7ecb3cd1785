#include "mxq/cost.h"

#include <algorithm>

#include "mxq/run_options.h"
#include "mxq/runtime.h"

namespace mxq {

namespace {

/// Core seconds of a weight and token.
struct Rate {
  double f32, bf16;
};
// f32: two cores with AVX2; bf16: two with AMX, whose fp32 products, which gradients take, are 2.5 times as fast too.
constexpr Rate kSampled{7.5e-11, 3.4e-11}, kFitted{6e-11, 8e-12}, kSensitivity{7.7e-10, 3.1e-10};

double seconds(const Rate& rate, int64_t weights, int64_t tokens) {
  const double of_core = best_compute() == Compute::bf16 ? rate.bf16 : rate.f32;
  return of_core * static_cast<double>(weights) * static_cast<double>(tokens) / std::max(1, threads());
}

}  // namespace

double seconds_to_sample(int64_t weights, int64_t tokens) {
  return seconds(kSampled, weights, tokens);
}
double seconds_to_fit(int64_t weights, int64_t tokens) {
  return seconds(kFitted, weights, tokens);
}
double seconds_of_sensitivities(int64_t weights, int64_t tokens) {
  return seconds(kSensitivity, weights, tokens);
}

}  // namespace mxq
