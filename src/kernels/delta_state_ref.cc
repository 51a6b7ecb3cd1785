// Scalar twins of the kernels of delta_state.cc.
#include "kernels/delta_state.h"

namespace mxq::ref {

void delta_step(float* state, int64_t keys, int64_t values, const DeltaToken& token, float* error, float* out) {
  for (int64_t j = 0; j < values; ++j) {
    float found = 0;
    for (int64_t i = 0; i < keys; ++i) found += token.key[i] * (token.decay * state[i * values + j]);
    error[j] = token.value[j] - found;
    const float change = token.rate * error[j];
    float sum = 0;
    for (int64_t i = 0; i < keys; ++i) {
      float& s = state[i * values + j];
      s = token.decay * s + token.key[i] * change;
      sum += token.query[i] * s;
    }
    out[j] = sum;
  }
}

void delta_step_back(const float* state, int64_t keys, int64_t values, const DeltaToken& token, const float* error,
                     const float* outer, float* gradient, DeltaTokenGradient& of_token) {
  float* const of_change = of_token.value;
  for (int64_t j = 0; j < values; ++j) of_change[j] = 0;
  for (int64_t i = 0; i < keys; ++i) {
    float of_query = 0, of_key = 0;
    for (int64_t j = 0; j < values; ++j) {
      const int64_t at = i * values + j;
      const float change = token.rate * error[j];
      gradient[at] += token.query[i] * outer[j];
      of_query += (token.decay * state[at] + token.key[i] * change) * outer[j];
      of_key += gradient[at] * change;
      of_change[j] += token.key[i] * gradient[at];
    }
    of_token.query[i] = of_query;
    of_token.key[i] = of_key;
  }
  of_token.rate = of_token.decay = 0;
  for (int64_t j = 0; j < values; ++j) of_token.rate += of_change[j] * error[j];
  for (int64_t j = 0; j < values; ++j) of_token.value[j] = token.rate * of_change[j];
  // What is found for the key counts against the value.
  for (int64_t i = 0; i < keys; ++i) {
    float of_key = 0;
    for (int64_t j = 0; j < values; ++j) {
      const int64_t at = i * values + j;
      of_key += token.decay * state[at] * of_token.value[j];
      gradient[at] -= token.key[i] * of_token.value[j];
      of_token.decay += gradient[at] * state[at];
      gradient[at] *= token.decay;
    }
    of_token.key[i] -= of_key;
  }
}

}  // namespace mxq::ref
