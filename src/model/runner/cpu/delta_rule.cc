#include "model/runner/cpu/delta_rule.h"

#include <algorithm>

#include "kernels/delta_state.h"
#include "model/runner/cpu/numbers.h"

namespace mxq {

namespace {

// Tokens whose states are kept at a time on the way back; of the others every 32nd is.
constexpr int64_t kBlock = 32;

DeltaToken token_of(const DeltaHead& head, int64_t t) {
  return {head.k + t * head.row, head.q + t * head.row, head.v + t * head.row, head.decay[t * head.rate_row],
          head.rate[t * head.rate_row]};
}

}  // namespace

void DeltaHead::run(float* state, float* out) const {
  auto error = floats(values);
  for (int64_t t = 0; t < n; ++t) {
    delta_step(state, keys, values, token_of(*this, t), error.data(), out + t * out_row);
  }
}

void delta_rule_back(const DeltaHead& head, const float* outer, DeltaHeadGradient& gradient) {
  const int64_t n = head.n, keys = head.keys, values = head.values, size = keys * values;
  gradient.q = gradient.k = floats(n * keys);
  auto starts = floats((n + kBlock - 1) / kBlock * size), state = floats(size), out = floats(values);
  auto errors = floats(n * values), of_state = floats(size);
  for (int64_t t = 0; t < n; ++t) {
    if (t % kBlock == 0) std::copy(state.begin(), state.end(), starts.begin() + t / kBlock * size);
    delta_step(state.data(), keys, values, token_of(head, t), errors.data() + t * values, out.data());
  }
  auto states = floats(std::min(n, kBlock) * size);  // before each token of a block
  for (int64_t first = (n - 1) / kBlock * kBlock; first >= 0; first -= kBlock) {
    const int64_t count = std::min(kBlock, n - first);
    state.assign(starts.begin() + first / kBlock * size, starts.begin() + (first / kBlock + 1) * size);
    for (int64_t i = 0; i < count; ++i) {
      std::copy(state.begin(), state.end(), states.begin() + i * size);
      delta_step(state.data(), keys, values, token_of(head, first + i), errors.data() + (first + i) * values,
                 out.data());
    }
    for (int64_t i = count - 1; i >= 0; --i) {
      const int64_t t = first + i;
      DeltaTokenGradient of_token{gradient.k.data() + t * keys, gradient.q.data() + t * keys,
                                  gradient.v + t * head.row};
      delta_step_back(states.data() + i * size, keys, values, token_of(head, t), errors.data() + t * values,
                      outer + t * head.out_row, of_state.data(), of_token);
      gradient.decay[t * head.rate_row] = of_token.decay;
      gradient.rate[t * head.rate_row] = of_token.rate;
    }
  }
}

}  // namespace mxq
