#include "model/runner/cpu/layer_backward.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"
#include "kernels/transpose.h"
#include "model/runner/cpu/attention_rows.h"

namespace mxq {

namespace {

std::vector<float> floats(int64_t n) {
  return std::vector<float>(static_cast<size_t>(n));
}

/// One KV head of one sequence and the query heads that share it. Pointers are to the first token's; tokens are q_row
/// or kv_row floats apart.
struct HeadGroup {
  int64_t n, group, dim, window;
  int64_t q_row, kv_row;
  float scale, cap;
  const float *q, *keys, *values, *out, *outer;  // outer: the gradient with respect to out
  float *d_q, *d_k, *d_v;                        // of the keys' and values': added to

  void run() const {
    const int64_t tokens = std::max<int64_t>(1, kBlockRows / group);
    for (int64_t first = 0; first < n; first += tokens) {
      const int64_t from = window > 0 ? std::max<int64_t>(0, first - window + 1) : 0;
      const int64_t end = std::min(n, first + tokens);
      run_block(first, end - first, from, end - from);
    }
  }

 private:
  /// The queries' rows of `count` tokens, dense: row t * group + g is query head g of token t.
  std::vector<float> gather(const float* of, int64_t first, int64_t count) const {
    auto to = floats(count * group * dim);
    for (int64_t t = 0; t < count; ++t) {
      std::copy_n(of + (first + t) * q_row, group * dim, to.data() + t * group * dim);
    }
    return to;
  }

  /// to [width, dim] += scores^T [width, rows] x [rows, dim].
  void add_up(const std::vector<float>& scores, int64_t rows, int64_t width, const std::vector<float>& x,
              float* to) const {
    auto turned = floats(rows * width), sums = floats(width * dim);
    transpose(scores.data(), rows, width, turned.data());
    matmul(width, dim, rows, turned.data(), rows, x.data(), dim, sums.data(), dim);
    for (int64_t i = 0; i < width; ++i) add(to + i * kv_row, sums.data() + i * dim, dim);
  }

  /// Queries [first, first + count) against keys [from, from + width). With o = p v, p = softmax(scale q k^T):
  /// dv = p^T do, ds = p (do v^T - sum(do o)), dq = scale ds k, dk = scale ds^T q. Capped scores have slopes of their
  /// own.
  void run_block(int64_t first, int64_t count, int64_t from, int64_t width) const {
    const int64_t rows = count * group, kv_at = from * kv_row;
    const auto queries = gather(q, first, count), o = gather(out, first, count), d_o = gather(outer, first, count);
    auto p = floats(rows * width), change = floats(rows * width);
    matmul_transposed(rows, width, dim, queries.data(), dim, keys + kv_at, kv_row, p.data(), width);
    // What a score changes by with q k^T.
    std::vector<float> slopes;
    if (cap > 0) {
      soft_cap(p.data(), scale, cap, rows * width);
      for (const float z : p) slopes.push_back(scale * (1 - z / cap * (z / cap)));
    }
    ScoreRows{rows, group, first, from, window}.softmax_visible(cap > 0 ? 1 : scale, width, p.data());
    add_up(p, rows, width, d_o, d_v + kv_at);
    matmul_transposed(rows, width, dim, d_o.data(), dim, values + kv_at, kv_row, change.data(), width);
    for (int64_t r = 0; r < rows; ++r) {
      const float mean = dot(d_o.data() + r * dim, o.data() + r * dim, dim);
      for (int64_t i = r * width; i < (r + 1) * width; ++i) {
        p[i] *= (slopes.empty() ? scale : slopes[static_cast<size_t>(i)]) * (change[i] - mean);
      }
    }
    add_up(p, rows, width, queries, d_k + kv_at);
    auto mixed = floats(rows * dim);
    matmul(rows, dim, width, p.data(), width, keys + kv_at, kv_row, mixed.data(), dim);
    for (int64_t t = 0; t < count; ++t) {
      std::copy_n(mixed.data() + t * group * dim, group * dim, d_q + (first + t) * q_row);
    }
  }
};

/// The gate's way through sigmoid(u): u and what it changes by with the gate.
struct Inner {
  float u, slope;
};
Inner inner_of(Activation activation, float gate) {
  if (activation == Activation::silu) return {gate, 1};
  constexpr auto scale = static_cast<float>(2 * 0.79788456080286536), cubic = 0.044715f;  // 2 sqrt(2 / pi)
  return {scale * (gate + cubic * gate * gate * gate), scale * (1 + 3 * cubic * gate * gate)};
}

/// Rows of several matrices, [tokens, width] each, side by side.
std::vector<float> joined(int64_t tokens, std::initializer_list<const std::vector<float>*> parts) {
  std::vector<float> rows;
  for (int64_t t = 0; t < tokens; ++t) {
    for (const auto* part : parts) {
      const int64_t width = std::ssize(*part) / tokens;
      rows.insert(rows.end(), part->begin() + t * width, part->begin() + (t + 1) * width);
    }
  }
  return rows;
}

void add_all(std::vector<float>& x, const std::vector<float>& y) {
  add(x.data(), y.data(), static_cast<int64_t>(x.size()));
}

}  // namespace

LayerBackward::LayerBackward(const CpuRunner& runner, int64_t layer, std::span<const Sequence> sequences,
                             const LayerTape& tape)
    : runner_(runner), index_(layer), layer_(runner.layers_[static_cast<size_t>(layer)]), tape_(tape) {
  const ModelConfig& config = runner.config_;
  for (const Sequence& sequence : sequences) {
    const auto n = static_cast<int64_t>(sequence.ids.size());
    lengths_.push_back(n);
    tokens_ += n;
  }
  for (size_t part = 0; part < weights_.size(); ++part) {
    const Linear& matrix = layer_.matrices[part];
    if (matrix.out_features() > 0) weights_[part] = matrix.floats(room_[part]);
  }
  by_gate_ = floats(static_cast<int64_t>(tape.gate.size()));
  by_up_ = floats(static_cast<int64_t>(tape.gate.size()));
  const int64_t width = config.intermediate_size;
  parallel_for(tokens_, [&](int64_t t) {
    for (int64_t i = t * width; i < (t + 1) * width; ++i) {
      const float gate = tape.gate[i];
      const auto [u, slope] = inner_of(config.activation, gate);
      const float sigmoid = 1 / (1 + std::exp(-u));
      by_up_[i] = gate * sigmoid;
      by_gate_[i] = tape.up[i] * sigmoid * (1 + gate * (1 - sigmoid) * slope);
    }
  });
}

std::vector<float> LayerBackward::through(LayerPart part, const std::vector<float>& gradient) const {
  const Linear& matrix = layer_.matrix(part);
  const float* const weights = weights_[static_cast<size_t>(part)];
  const int64_t out = matrix.out_features(), in = matrix.in_features();
  auto to = floats(tokens_ * in);
  matmul(tokens_, in, out, gradient.data(), out, weights, in, to.data(), in);
  return to;
}

void LayerBackward::through_norm(const std::vector<float>& x, const std::vector<float>& weight,
                                 const std::vector<float>& outer, std::vector<float>& gradient) const {
  if (weight.empty()) return add_all(gradient, outer);
  const int64_t width = runner_.config_.hidden_size;
  parallel_for(tokens_, [&](int64_t t) {
    runner_.row_norm_.add_gradient(x.data() + t * width, weight.data(), outer.data() + t * width, width,
                                   gradient.data() + t * width);
  });
}

std::vector<float> LayerBackward::through_finish(const std::vector<float>& plain, const std::vector<float>& weight,
                                                 std::vector<float> gradient) const {
  const auto scale = static_cast<float>(runner_.config_.residual_scale);
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
              .q = tape_.q.data() + q_at,
              .keys = tape_.k.data() + kv_at,
              .values = tape_.v.data() + kv_at,
              .out = tape_.heads.data() + q_at,
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
  const int64_t dim = runner_.config_.head_dim, row = heads * dim;
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
  const auto outer = through_finish(tape_.plain_output, layer_.norm(LayerPart::output_norm), gradient);
  show(observe, LayerPart::down, outer);
  auto d_up = through(LayerPart::down, outer);
  auto d_gate = floats(static_cast<int64_t>(d_up.size()));
  const int64_t width = runner_.config_.intermediate_size;
  parallel_for(tokens_, [&](int64_t t) {
    for (int64_t i = t * width; i < (t + 1) * width; ++i) {
      d_gate[i] = d_up[i] * by_gate_[i];
      d_up[i] *= by_up_[i];
    }
  });
  if (layer_.has(LayerPart::gate_up)) {
    const auto both = joined(tokens_, {&d_gate, &d_up});
    show(observe, LayerPart::gate_up, both);
    return through(LayerPart::gate_up, both);
  }
  show(observe, LayerPart::gate, d_gate);
  show(observe, LayerPart::up, d_up);
  auto d_input = through(LayerPart::gate, d_gate);
  add_all(d_input, through(LayerPart::up, d_up));
  return d_input;
}

std::vector<float> LayerBackward::attend(const std::vector<float>& gradient, const GradientObserver& observe) const {
  const auto outer = through_finish(tape_.plain_attention, layer_.norm(LayerPart::attention_norm), gradient);
  show(observe, LayerPart::o, outer);
  std::vector<float> d_q, d_k, d_v;
  attention(through(LayerPart::o, outer), d_q, d_k, d_v);
  if (layer_.has(LayerPart::qkv)) {
    const auto all = joined(tokens_, {&d_q, &d_k, &d_v});
    show(observe, LayerPart::qkv, all);
    return through(LayerPart::qkv, all);
  }
  show(observe, LayerPart::q, d_q);
  show(observe, LayerPart::k, d_k);
  show(observe, LayerPart::v, d_v);
  auto d_input = through(LayerPart::q, d_q);
  add_all(d_input, through(LayerPart::k, d_k));
  add_all(d_input, through(LayerPart::v, d_v));
  return d_input;
}

void LayerBackward::show(const GradientObserver& observe, LayerPart part, const std::vector<float>& outer) const {
  if (observe) observe(runner_.architecture().module_of(part), outer.data());
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
