#include "model/runner/cpu/layer_backward.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/parallel.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"
#include "model/runner/cpu/attention_backward.h"
#include "model/runner/cpu/numbers.h"

namespace mxq {

namespace {

void add_all(std::vector<float>& x, const std::vector<float>& y) {
  add(x.data(), y.data(), static_cast<int64_t>(x.size()));
}

}  // namespace

LayerBackward::Weights::Weights(const Linear& matrix, Compute compute) : linear(&matrix), bf16(compute) {
  const float* const values = matrix.floats(room);
  if (compute == Compute::f32) {
    f32 = values;
  } else {
    bf16.set(values, matrix.out_features(), matrix.in_features());
    room = {};
  }
}

LayerBackward::LayerBackward(const CpuRunner& runner, int64_t layer, std::span<const Sequence> sequences,
                             const LayerTape& tape)
    : runner_(runner), index_(layer), layer_(runner.layers_[static_cast<size_t>(layer)]), tape_(tape) {
  const ModelConfig& config = runner.config();
  for (const Sequence& sequence : sequences) {
    const auto n = static_cast<int64_t>(sequence.ids.size());
    lengths_.push_back(n);
    tokens_ += n;
  }
  for (const NamedTensor& named : layer_tensors(config, layer)) {
    if (!named.is_matrix()) continue;
    // Of experts that no token goes to nothing is asked.
    if (named.tensor->of_expert() && tape.routing.tokens[static_cast<size_t>(named.expert)].empty()) continue;
    const Linear& matrix = layer_.at(named);
    weights_.try_emplace({named.tensor->part, named.expert}, matrix, runner.compute());
  }
  if (!tape.gate.empty()) {
    slopes_ = {config.activation, tape.gate, tape.up, layer_.matrix(LayerPart::down).in_features()};
  }
  for (const ExpertTape& expert : tape.experts) {
    expert_slopes_.emplace_back(config.activation, expert.gate, expert.up, config.mixture.intermediate_size);
  }
}

FusedPart<const float> LayerBackward::all_of(const std::vector<float>& rows) const {
  const int64_t width = std::ssize(rows) / tokens_;
  return {rows.data(), width, width};
}

std::vector<float> LayerBackward::through(LayerPart part, const std::vector<float>& gradient, int64_t expert) const {
  const Weights& weights = weights_.at({part, expert});
  const int64_t out = weights.linear->out_features(), in = weights.linear->in_features();
  const int64_t rows = std::ssize(gradient) / out;
  auto to = floats(rows * in);
  if (weights.f32 != nullptr) {
    matmul(rows, in, out, gradient.data(), out, weights.f32, in, to.data(), in);
  } else {
    Operand outer(Compute::bf16);
    outer.set(gradient.data(), rows, out);
    matmul(rows, in, out, outer.bf16(), weights.bf16.bf16(), to.data());
  }
  return to;
}

void LayerBackward::through_norm(const std::vector<float>& x, const std::vector<float>& weight,
                                 const std::vector<float>& outer, std::vector<float>& gradient) const {
  if (weight.empty()) return add_all(gradient, outer);
  const int64_t width = runner_.config().hidden_size;
  parallel_for(tokens_, [&](int64_t t) {
    runner_.row_norm_.add_gradient(x.data() + t * width, weight.data(), outer.data() + t * width, width,
                                   gradient.data() + t * width);
  });
}

std::vector<float> LayerBackward::through_finish(const std::vector<float>& plain, const std::vector<float>& weight,
                                                 std::vector<float> gradient) const {
  const auto scale = static_cast<float>(runner_.config().residual_scale);
  if (scale != 1) {
    for (float& g : gradient) g *= scale;
  }
  if (weight.empty()) return gradient;
  auto inner = floats(std::ssize(gradient));
  through_norm(plain, weight, gradient, inner);
  return inner;
}

void LayerBackward::attention(const std::vector<float>& outer, std::vector<float>& d_q, std::vector<float>& d_k,
                              std::vector<float>& d_v) const {
  const AttentionShape shape = runner_.attention_shape(index_);
  const int64_t dim = shape.head_dim, kv_heads = shape.kv_heads, group = shape.heads / kv_heads;
  const auto& attended = tape_.attended.empty() ? tape_.heads : tape_.attended;
  d_q.resize(tape_.q.size());
  d_k.assign(tape_.k.size(), 0);
  d_v.assign(tape_.v.size(), 0);
  std::vector<int64_t> starts;
  int64_t start = 0;
  for (const int64_t n : lengths_) {
    starts.push_back(start);
    start += n;
  }
  parallel_for(static_cast<int64_t>(lengths_.size()) * kv_heads, [&](int64_t task) {
    const auto s = static_cast<size_t>(task / kv_heads);
    const int64_t head = task % kv_heads;
    const int64_t q_row = kv_heads * group * dim, kv_row = kv_heads * dim;
    const int64_t q_at = starts[s] * q_row + head * group * dim, kv_at = starts[s] * kv_row + head * dim;
    HeadGroup{.n = lengths_[s],
              .group = group,
              .dim = dim,
              .window = shape.window,
              .q_row = q_row,
              .kv_row = kv_row,
              .scale = shape.scale,
              .cap = shape.cap,
              .sinks = shape.sinks == nullptr ? nullptr : shape.sinks + head * group,
              .q = tape_.q.data() + q_at,
              .keys = tape_.k.data() + kv_at,
              .values = tape_.v.data() + kv_at,
              .out = attended.data() + q_at,
              .outer = outer.data() + q_at,
              .d_q = d_q.data() + q_at,
              .d_k = d_k.data() + kv_at,
              .d_v = d_v.data() + kv_at}
        .run();
  });
  unrotate(tape_.plain_q, layer_.norm(LayerPart::q_norm), kv_heads * group, d_q);
  unrotate(tape_.plain_k, layer_.norm(LayerPart::k_norm), kv_heads, d_k);
}

void LayerBackward::unrotate(const std::vector<float>& plain, const std::vector<float>& norm, int64_t heads,
                             std::vector<float>& gradient) const {
  const int64_t dim = runner_.config().head_dim, row = heads * dim;
  parallel_for(tokens_, [&](int64_t t) {
    const auto& place = runner_.places_[static_cast<size_t>(t)];
    const RopeTable* const rope = runner_.rope_of(index_, place);
    for (int64_t at = t * row; rope != nullptr && at < (t + 1) * row; at += dim) {
      rope->rotate_back(gradient.data() + at, place.position);
    }
    const auto normed = std::ssize(norm);  // a head, or all of them
    std::vector<float> outer(norm.size());
    for (int64_t at = t * row; normed > 0 && at < (t + 1) * row; at += normed) {
      float* const inner = gradient.data() + at;
      std::copy_n(inner, normed, outer.data());
      std::fill_n(inner, normed, 0.0f);
      runner_.row_norm_.add_gradient(plain.data() + at, norm.data(), outer.data(), normed, inner);
    }
  });
}

std::vector<float> LayerBackward::feed_forward(const std::vector<float>& gradient,
                                               const GradientObserver& observe) const {
  auto outer = through_finish(tape_.plain_output, layer_.norm(LayerPart::output_norm), gradient);
  if (layer_.experts.empty()) return gated_network(std::move(outer), observe);
  auto d_input = mixture(outer, observe);
  if (layer_.has(LayerPart::down)) add_all(d_input, gated_network(std::move(outer), observe));
  return d_input;
}

std::vector<float> LayerBackward::gated_network(std::vector<float> outer, const GradientObserver& observe) const {
  std::vector<float> d_shares;
  if (!tape_.shared_share.empty()) {
    const int64_t width = runner_.hidden_size();
    d_shares = floats(tokens_);
    parallel_for(tokens_, [&](int64_t t) {
      float* const row = outer.data() + t * width;
      const float share = tape_.shared_share[static_cast<size_t>(t)];
      d_shares[static_cast<size_t>(t)] = dot(row, tape_.shared.data() + t * width, width) * share * (1 - share);
      std::for_each_n(row, width, [share](float& g) { g *= share; });
    });
  }
  auto d_up = shown_through(LayerPart::down, outer, observe);
  const auto d_gate = slopes_.through(d_up);
  std::vector<float> d_input;
  if (layer_.has(LayerPart::gate_up)) {
    d_input = through_fused(LayerPart::gate_up, 1, std::array{all_of(d_gate), all_of(d_up)}, observe);
  } else {
    d_input = shown_through(LayerPart::gate, d_gate, observe);
    add_all(d_input, shown_through(LayerPart::up, d_up, observe));
  }
  if (!d_shares.empty()) add_all(d_input, through(LayerPart::shared_gate, d_shares));
  return d_input;
}

std::vector<float> LayerBackward::mixture(const std::vector<float>& outer, const GradientObserver& observe) const {
  const Routing& routing = tape_.routing;
  const int64_t width = runner_.hidden_size();
  auto d_input = floats(tokens_ * width);
  std::vector<std::vector<float>> of_shares(routing.tokens.size());
  for (size_t e = 0; e < routing.tokens.size(); ++e) {
    const auto& tokens = routing.tokens[e];
    const auto expert = static_cast<int64_t>(e), count = std::ssize(tokens);
    if (count == 0) continue;
    of_shares[e] = std::vector<float>(tokens.size());
    auto d_out = floats(count * width);
    parallel_for(count, [&](int64_t i) {
      const float* const from = outer.data() + tokens[static_cast<size_t>(i)] * width;
      of_shares[e][static_cast<size_t>(i)] = dot(from, tape_.experts[e].out.data() + i * width, width);
      const float share = routing.shares[e][static_cast<size_t>(i)];
      std::transform(from, from + width, d_out.data() + i * width, [share](float g) { return share * g; });
    });
    show(observe, LayerPart::expert_down, d_out, expert);
    auto d_up = through(LayerPart::expert_down, d_out, expert);
    const auto d_gate = expert_slopes_[e].through(d_up);
    show(observe, LayerPart::expert_gate, d_gate, expert);
    show(observe, LayerPart::expert_up, d_up, expert);
    auto d_rows = through(LayerPart::expert_gate, d_gate, expert);
    add_all(d_rows, through(LayerPart::expert_up, d_up, expert));
    parallel_for(count, [&](int64_t i) {
      add(d_input.data() + tokens[static_cast<size_t>(i)] * width, d_rows.data() + i * width, width);
    });
  }
  add_all(d_input, through(LayerPart::router, route_back(routing, of_shares, runner_.config().mixture)));
  return d_input;
}

std::vector<float> LayerBackward::attend(const std::vector<float>& gradient, const GradientObserver& observe) const {
  const auto outer = through_finish(tape_.plain_attention, layer_.norm(LayerPart::attention_norm), gradient);
  if (layer_.linear) return linear_heads(shown_through(LayerPart::linear_o, outer, observe), observe);
  return attention_heads(shown_through(LayerPart::o, outer, observe), observe);
}

std::vector<float> LayerBackward::attention_heads(std::vector<float> outer, const GradientObserver& observe) const {
  std::vector<float> d_gates(tape_.head_gates.size());
  const int64_t width = std::ssize(outer) / tokens_;
  parallel_for(d_gates.empty() ? 0 : tokens_, [&](int64_t t) {
    for (auto i = static_cast<size_t>(t * width); i < static_cast<size_t>((t + 1) * width); ++i) {
      const float share = sigmoid(tape_.head_gates[i]);
      d_gates[i] = outer[i] * tape_.attended[i] * share * (1 - share);
      outer[i] *= share;
    }
  });
  std::vector<float> d_q, d_k, d_v;
  attention(outer, d_q, d_k, d_v);
  if (layer_.has(LayerPart::qkv)) {
    return through_fused(LayerPart::qkv, 1, std::array{all_of(d_q), all_of(d_k), all_of(d_v)}, observe);
  }
  auto d_input = d_gates.empty() ? shown_through(LayerPart::q, d_q, observe)
                                 : through_fused(LayerPart::q, runner_.config().num_attention_heads,
                                                 std::array{all_of(d_q), all_of(d_gates)}, observe);
  add_all(d_input, shown_through(LayerPart::k, d_k, observe));
  add_all(d_input, shown_through(LayerPart::v, d_v, observe));
  return d_input;
}

std::vector<float> LayerBackward::linear_heads(const std::vector<float>& outer, const GradientObserver& observe) const {
  using enum LayerPart;
  const LinearAttention& shape = runner_.config().linear;
  std::vector<LinearPiece> pieces;
  for (const int64_t n : lengths_) pieces.push_back({n});
  LinearRows gradient;
  layer_.linear->run_back(pieces, tape_.linear, outer, gradient);
  if (layer_.has(linear_qkvz)) {
    auto d_input =
        through_fused(linear_qkvz, shape.key_heads, qkvz_parts<const float>(shape, std::as_const(gradient)), observe);
    add_all(d_input,
            through_fused(linear_ba, shape.key_heads, ba_parts<const float>(shape, std::as_const(gradient)), observe));
    return d_input;
  }
  auto d_input = shown_through(linear_qkv, gradient.mixed, observe);
  add_all(d_input, shown_through(linear_z, gradient.z, observe));
  add_all(d_input, shown_through(linear_b, gradient.b, observe));
  add_all(d_input, shown_through(linear_a, gradient.a, observe));
  return d_input;
}

std::vector<float> LayerBackward::through_fused(LayerPart part, int64_t groups,
                                                std::span<const FusedPart<const float>> parts,
                                                const GradientObserver& observe) const {
  auto outer = floats(tokens_ * layer_.matrix(part).out_features());
  join_rows(tokens_, groups, parts, outer.data());
  return shown_through(part, outer, observe);
}

std::vector<float> LayerBackward::shown_through(LayerPart part, const std::vector<float>& outer,
                                                const GradientObserver& observe) const {
  show(observe, part, outer);
  return through(part, outer);
}

void LayerBackward::show(const GradientObserver& observe, LayerPart part, const std::vector<float>& outer,
                         int64_t expert) const {
  if (observe) observe(module_of(runner_.config(), index_, part, expert), outer.data());
}

void LayerBackward::run(std::vector<float>& gradient, const GradientObserver& observe) const {
  auto d_input = feed_forward(gradient, observe);
  if (runner_.architecture().parallel) {
    add_all(d_input, attend(gradient, observe));
  } else {
    through_norm(tape_.middle, layer_.norm(LayerPart::feed_forward_norm), d_input, gradient);
    d_input = attend(gradient, observe);
  }
  through_norm(tape_.residual, layer_.norm(LayerPart::input_norm), d_input, gradient);
}

}  // namespace mxq
