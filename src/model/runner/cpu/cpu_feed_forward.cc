// What CpuRunner does with tokens in the feed-forward networks of a layer, experts among them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "model/runner/cpu/cpu_runner.h"
#include "model/runner/cpu/moments.h"
#include "model/runner/cpu/numbers.h"

namespace mxq {

InputRows LayerTape::rows_of(const InputPlace& place) const {
  const auto expert = static_cast<size_t>(place.expert);
  switch (place.input) {
    case LayerInput::attention:
      return {attention_input, {}};
    case LayerInput::heads:
      return {heads, {}};
    case LayerInput::feed_forward:
      return {feed_forward_input, {}};
    case LayerInput::gated:
      return {gated, {}};
    case LayerInput::routed:
      return {experts[expert].input, routing.tokens[expert]};
    case LayerInput::routed_gated:
      return {experts[expert].gated, routing.tokens[expert]};
  }
  return {};
}

namespace {

/// The weights of those tokens; none of none.
std::vector<float> gathered(std::span<const float> weights, std::span<const int32_t> tokens) {
  std::vector<float> result;
  if (weights.empty()) return result;
  for (const int32_t t : tokens) result.push_back(weights[static_cast<size_t>(t)]);
  return result;
}

}  // namespace

// Leaves pending what the feed-forward network adds to x_; where it stands beside attention, what the two add.
void CpuRunner::feed_forward(int64_t index, const MomentsTap& tap, LayerTape* tape) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const bool parallel = architecture().parallel;
  if (parallel) {
    beside_.swap(delta_);
    pending_ = false;
  }
  add_and_norm(layer.norm(parallel ? LayerPart::input_norm : LayerPart::feed_forward_norm));
  if (tape != nullptr) {
    tape->middle = x_;
    tape->feed_forward_input = delta_;
  }
  const bool mixture = !layer.experts.empty(), network = layer.has(LayerPart::down);
  std::optional<SecondMoments> moments;
  if (tap && mixture) moments = second_moments(operand_, tap.weights);
  if (!parallel) show(tap, index, LayerInput::feed_forward);
  if (mixture) mix(index, tap, moments ? &*moments : nullptr, tape);
  if (network) gated_network(index, tap, tape);
  if (mixture && network) {
    add(delta_.data(), mixed_.data(), std::ssize(mixed_));
  } else if (mixture) {
    delta_.swap(mixed_);
  }
  finish(layer.norm(LayerPart::output_norm), tape == nullptr ? nullptr : &tape->plain_output);
  if (parallel) add(delta_.data(), beside_.data(), std::ssize(beside_));
}

// delta_ becomes what the network that every token goes through makes of operand_.
void CpuRunner::gated_network(int64_t index, const MomentsTap& tap, LayerTape* tape) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const int64_t width = layer.matrix(LayerPart::down).in_features();
  std::vector<float> shares;  // of a network beside experts
  if (layer.has(LayerPart::shared_gate)) {
    shares.resize(static_cast<size_t>(n_));
    layer.matrix(LayerPart::shared_gate).apply(operand_, shares.data());
    for (float& share : shares) share = sigmoid(share);
  }
  gate_.resize(static_cast<size_t>(n_ * width));
  up_.resize(static_cast<size_t>(n_ * width));
  if (layer.has(LayerPart::gate_up)) {
    apply_split(layer.matrix(LayerPart::gate_up), 1, std::array{all_of(gate_), all_of(up_)});
  } else {
    layer.matrix(LayerPart::gate).apply(operand_, gate_.data());
    layer.matrix(LayerPart::up).apply(operand_, up_.data());
  }
  if (tape != nullptr) {
    tape->gate = gate_;
    tape->up = up_;
  }
  operand_.resize(n_, width);
  const auto multiply = gate_multiply();
  parallel_for(n_, [&](int64_t i) {
    multiply(gate_.data() + i * width, up_.data() + i * width, width);
    operand_.set_row(i, gate_.data() + i * width);
  });
  if (tape != nullptr) tape->gated = gate_;
  show(tap, index, LayerInput::gated);
  layer.matrix(LayerPart::down).apply(operand_, delta_.data());
  if (shares.empty()) return;
  if (tape != nullptr) {
    tape->shared = delta_;
    tape->shared_share = shares;
  }
  const int64_t hidden = config().hidden_size;
  parallel_for(n_, [&](int64_t i) {
    std::for_each_n(delta_.begin() + i * hidden, hidden,
                    [share = shares[static_cast<size_t>(i)]](float& x) { x *= share; });
  });
}

// mixed_ becomes what the experts make of delta_, each of its tokens' rows. `pooled`: the moments of all rows, where
// they are observed. All experts are observed, also those that no token goes to.
void CpuRunner::mix(int64_t index, const MomentsTap& tap, const SecondMoments* pooled, LayerTape* tape) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const int64_t hidden = config().hidden_size, width = config().mixture.intermediate_size;
  std::vector<float> products(static_cast<size_t>(n_) * layer.experts.size());
  layer.matrix(LayerPart::router).apply(operand_, products.data());
  if (!std::all_of(products.begin(), products.end(), [](float p) { return std::isfinite(p); })) {
    refuse_not_finite(fmt::format("the router of layer {}", index));
  }
  const Routing routing = route(std::move(products), config().mixture);
  if (tape != nullptr) tape->experts.resize(layer.experts.size());

  Operand rows(compute());
  std::vector<float> weights;  // of all rows, in their order; empty: even
  std::vector<float> gate, up, gated(static_cast<size_t>(n_ * config().mixture.per_token * width));  // expert by expert
  const auto multiply = gate_multiply();
  float* to = gated.data();
  for (size_t e = 0; e < layer.experts.size(); ++e) {
    const auto& tokens = routing.tokens[e];
    const int64_t count = std::ssize(tokens);
    if (count == 0 && !tap) continue;
    rows.resize(count, hidden);
    parallel_for(count, [&](int64_t i) { rows.set_row(i, delta_.data() + tokens[static_cast<size_t>(i)] * hidden); });
    const auto of_tokens = gathered(tap.weights, tokens);
    if (tap) tap.observe(index, {LayerInput::routed, static_cast<int64_t>(e)}, second_moments(rows, of_tokens), pooled);
    weights.insert(weights.end(), of_tokens.begin(), of_tokens.end());
    if (count == 0) continue;
    gate.resize(static_cast<size_t>(count * width));
    up.resize(gate.size());
    layer.experts[e].gate.apply(rows, gate.data());
    layer.experts[e].up.apply(rows, up.data());
    if (tape != nullptr) {
      ExpertTape& expert = tape->experts[e];
      expert.gate = gate;
      expert.up = up;
      for (const int32_t t : tokens) {
        expert.input.insert(expert.input.end(), delta_.begin() + t * hidden, delta_.begin() + (t + 1) * hidden);
      }
    }
    parallel_for(count, [&](int64_t i) { multiply(gate.data() + i * width, up.data() + i * width, width); });
    to = std::copy(gate.begin(), gate.end(), to);
    if (tape != nullptr) tape->experts[e].gated = gate;
  }
  std::optional<SecondMoments> of_gated;
  if (tap) {
    Operand all(compute());
    all.set(gated.data(), n_ * config().mixture.per_token, width);
    of_gated = second_moments(all, weights);
  }
  mixed_.assign(static_cast<size_t>(n_ * hidden), 0.0f);
  std::vector<float> out;
  const float* from = gated.data();
  for (size_t e = 0; e < layer.experts.size(); ++e) {
    const auto& tokens = routing.tokens[e];
    const int64_t count = std::ssize(tokens);
    if (count == 0 && !tap) continue;
    rows.set(from, count, width);
    from += count * width;
    if (tap) {
      tap.observe(index, {LayerInput::routed_gated, static_cast<int64_t>(e)},
                  second_moments(rows, gathered(tap.weights, tokens)), &*of_gated);
    }
    if (count == 0) continue;
    out.resize(static_cast<size_t>(count * hidden));
    layer.experts[e].down.apply(rows, out.data());
    parallel_for(count, [&](int64_t i) {
      const float share = routing.shares[e][static_cast<size_t>(i)];
      float* const sum = mixed_.data() + tokens[static_cast<size_t>(i)] * hidden;
      for (int64_t j = 0; j < hidden; ++j) sum[j] += share * out[static_cast<size_t>(i * hidden + j)];
    });
    if (tape != nullptr) tape->experts[e].out = out;
  }
  if (tape != nullptr) tape->routing = routing;
}

}  // namespace mxq
