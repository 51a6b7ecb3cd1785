// What running a model on text will take, guessed before it begins.
#pragma once

#include <cstdint>

namespace mxq {

/// Seconds on threads() cores of a server, by rates measured on SmolLM2-135M (bench/quantize_smollm2.py) with what
/// best_compute() is here; good to a factor of two. `weights`: of the matrices that tokens are multiplied with.
/// Text that the model samples itself.
double seconds_to_sample(int64_t weights, int64_t tokens);
/// Second moments of what its matrices multiply, and matrices fitted to them.
double seconds_to_fit(int64_t weights, int64_t tokens);
/// Sensitivities of all matrices, by gradients.
double seconds_of_sensitivities(int64_t weights, int64_t tokens);

}  // namespace mxq
