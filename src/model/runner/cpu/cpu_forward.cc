// What CpuRunner does with tokens.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "model/runner/cpu/attention.h"
#include "model/runner/cpu/cpu_runner.h"
#include "model/runner/cpu/kv_cache.h"
#include "model/runner/cpu/layer_backward.h"
#include "model/runner/cpu/moments.h"
#include "mxq/error.h"

namespace mxq {

// Such a norm of finite values would be 0, as it is in other programs, and the result as good as none.
void refuse_not_finite(const std::string& name) {
  throw Error(ErrorCode::not_finite, "run model", name + " gives NaN or infinity",
              "finite values whose squares fp32 can add up");
}

// Adds to x_ what is pending; then delta_ and operand_ are the norm of x_, or x_ itself.
void CpuRunner::add_and_norm(const std::vector<float>& weight) {
  const int64_t width = config().hidden_size;
  operand_.resize(n_, width);
  std::atomic<bool> finite{true};
  parallel_for(n_, [&](int64_t i) {
    float* x = x_.data() + i * width;
    float* delta = delta_.data() + i * width;
    if (pending_) add(x, delta, width);
    float square = 0;
    if (weight.empty()) {
      std::copy_n(x, width, delta);
      square = dot(x, x, width);
    } else {
      square = row_norm_.apply(x, weight.data(), width, delta);
    }
    if (!std::isfinite(square)) finite = false;
    operand_.set_row(i, delta);
  });
  pending_ = false;
  if (!finite) refuse_not_finite(last_layer_ < 0 ? "the embedding" : fmt::format("layer {}", last_layer_));
}

// delta_, which half a layer put out, becomes what is to be added to x_.
void CpuRunner::finish(const std::vector<float>& norm, std::vector<float>* plain) {
  const auto scale = static_cast<float>(config().residual_scale);
  if (plain != nullptr) *plain = norm.empty() ? std::vector<float>() : delta_;
  pending_ = true;
  if (norm.empty() && scale == 1) return;
  const int64_t width = config().hidden_size;
  std::atomic<bool> finite{true};
  parallel_for(n_, [&](int64_t i) {
    float* const row = delta_.data() + i * width;
    if (!norm.empty() && !std::isfinite(row_norm_.apply(row, norm.data(), width, row))) finite = false;
    if (scale != 1) std::for_each(row, row + width, [scale](float& x) { x *= scale; });
  });
  if (!finite) refuse_not_finite(fmt::format("layer {}", last_layer_));
}

const RopeTable* CpuRunner::rope_of(int64_t layer, const Place& place) const {
  if (!config().rotates(layer)) return nullptr;
  return window_rope_ && config().window_of(layer) > 0 ? place.window_rope : place.rope;
}

AttentionShape CpuRunner::attention_shape(int64_t layer) const {
  const auto& sinks = layers_[static_cast<size_t>(layer)].norm(LayerPart::sinks);
  return {.heads = config().num_attention_heads,
          .kv_heads = config().num_key_value_heads,
          .head_dim = config().head_dim,
          .window = config().window_of(layer),
          .scale = static_cast<float>(config().score_scale.value_or(config().usual_score_scale())),
          .cap = static_cast<float>(config().score_cap),
          .sinks = sinks.empty() ? nullptr : sinks.data()};
}

// What one matrix that stands for several makes of operand_, to each its own.
void CpuRunner::apply_split(const Linear& matrix, int64_t groups, std::span<const FusedPart<float>> parts) {
  fused_.resize(static_cast<size_t>(n_ * matrix.out_features()));
  matrix.apply(operand_, fused_.data());
  split_rows(fused_.data(), n_, groups, parts);
}

SecondMoments CpuRunner::moments_of(const MomentsTap& tap, LayerInput input) const {
  SecondMoments moments = second_moments(operand_, tap.weights);
  if (tap.beside == nullptr) return moments;
  const auto& kept = static_cast<const CpuKeptInputs&>(*tap.beside).rows;
  if (const auto other = kept.find(input); other != kept.end()) {
    moments.cross = cross_moments(operand_, other->second, tap.weights);
  }
  return moments;
}

void CpuRunner::show(const MomentsTap& tap, int64_t index, LayerInput input) {
  if (keep_ != nullptr) keep_->rows.insert_or_assign(input, operand_);
  if (tap) tap.observe(index, {input}, moments_of(tap, input), nullptr);
}

// Leaves pending what attention adds to x_.
void CpuRunner::attend(int64_t index, std::span<const Sequence> sequences, const MomentsTap& tap, LayerTape* tape) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  add_and_norm(layer.norm(LayerPart::input_norm));
  if (tape != nullptr) {
    tape->residual = x_;
    tape->attention_input = delta_;
  }
  show(tap, index, LayerInput::attention);
  const auto& heads = layer.linear ? linear_attention(index, sequences, tape) : attention(index, sequences, tape);
  if (tape != nullptr) tape->heads = heads;
  operand_.set(heads.data(), n_, std::ssize(heads) / n_);
  show(tap, index, LayerInput::heads);
  layer.matrix(layer.linear ? LayerPart::linear_o : LayerPart::o).apply(operand_, delta_.data());
  last_layer_ = index;
  finish(layer.norm(LayerPart::attention_norm), tape == nullptr ? nullptr : &tape->plain_attention);
}

const std::vector<float>& CpuRunner::attention(int64_t index, std::span<const Sequence> sequences, LayerTape* tape) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const AttentionShape shape = attention_shape(index);
  const int64_t q_row = shape.heads * shape.head_dim, kv_row = shape.kv_heads * shape.head_dim;
  const auto &q_norm = layer.norm(LayerPart::q_norm), &k_norm = layer.norm(LayerPart::k_norm);
  const bool gated = architecture().gated_queries;
  if (layer.has(LayerPart::qkv)) {
    apply_split(layer.matrix(LayerPart::qkv), 1, std::array{all_of(q_), all_of(k_), all_of(v_)});
  } else {
    if (gated) {
      head_gates_.resize(q_.size());
      apply_split(layer.matrix(LayerPart::q), shape.heads, std::array{all_of(q_), all_of(head_gates_)});
    } else {
      layer.matrix(LayerPart::q).apply(operand_, q_.data());
    }
    layer.matrix(LayerPart::k).apply(operand_, k_.data());
    layer.matrix(LayerPart::v).apply(operand_, v_.data());
  }
  if (tape != nullptr) {
    tape->plain_q = q_norm.empty() ? std::vector<float>() : q_;
    tape->plain_k = k_norm.empty() ? std::vector<float>() : k_;
  }
  std::atomic<bool> finite{true};
  parallel_for(n_, [&](int64_t i) {
    const Place& place = places_[static_cast<size_t>(i)];
    const RopeTable* const rope = rope_of(index, place);
    const auto rotate = [&](float* heads, int64_t count, const std::vector<float>& norm) {
      const auto normed = std::ssize(norm);  // a head, or all of them
      for (float* at = heads; normed > 0 && at < heads + count * shape.head_dim; at += normed) {
        if (!std::isfinite(row_norm_.apply(at, norm.data(), normed, at))) finite = false;
      }
      for (float* head = heads; rope != nullptr && head < heads + count * shape.head_dim; head += shape.head_dim) {
        rope->rotate(head, place.position);
      }
    };
    rotate(q_.data() + i * q_row, shape.heads, q_norm);
    rotate(k_.data() + i * kv_row, shape.kv_heads, k_norm);
  });
  if (!finite) refuse_not_finite(fmt::format("q_proj or k_proj of layer {}", index));

  std::vector<AttentionInput> inputs;
  int64_t row = 0;
  for (const Sequence& sequence : sequences) {
    const auto n = static_cast<int64_t>(sequence.ids.size());
    const float *keys = k_.data() + row * kv_row, *values = v_.data() + row * kv_row;
    AttentionInput input{.n = n, .q = q_.data() + row * q_row, .out = attended_.data() + row * q_row};
    if (sequence.cache != nullptr) {
      auto& kept = static_cast<CpuKvCache&>(*sequence.cache).layers[static_cast<size_t>(index)];
      kept.keys.add(keys, n, shape.kv_heads, shape.head_dim, compute());
      kept.values.add(values, n, shape.kv_heads, shape.head_dim, compute());
      input.past = sequence.cache->length();
      input.kept_keys = &kept.keys;
      input.kept_values = &kept.values;
    } else {
      input.keys = keys;
      input.values = values;
    }
    inputs.push_back(input);
    row += n;
  }
  causal_attention(shape, compute(), inputs);
  if (tape != nullptr) {
    tape->q = q_;
    tape->k = k_;
    tape->v = v_;
  }
  if (!gated) return attended_;
  if (tape != nullptr) {
    tape->attended = attended_;
    tape->head_gates = head_gates_;
  }
  parallel_for(n_, [&](int64_t i) {
    for (int64_t at = i * q_row; at < (i + 1) * q_row; ++at) attended_[at] /= 1 + std::exp(-head_gates_[at]);
  });
  return attended_;
}

const std::vector<float>& CpuRunner::linear_attention(int64_t index, std::span<const Sequence> sequences,
                                                      LayerTape* tape) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const LinearAttention& shape = config().linear;
  linear_.resize(shape, n_);
  if (layer.has(LayerPart::linear_qkvz)) {
    apply_split(layer.matrix(LayerPart::linear_qkvz), shape.key_heads, qkvz_parts<float>(shape, linear_));
    apply_split(layer.matrix(LayerPart::linear_ba), shape.key_heads, ba_parts<float>(shape, linear_));
  } else {
    layer.matrix(LayerPart::linear_qkv).apply(operand_, linear_.mixed.data());
    layer.matrix(LayerPart::linear_z).apply(operand_, linear_.z.data());
    layer.matrix(LayerPart::linear_b).apply(operand_, linear_.b.data());
    layer.matrix(LayerPart::linear_a).apply(operand_, linear_.a.data());
  }
  std::vector<LinearPiece> pieces;
  for (const auto& [ids, cache] : sequences) {
    LinearState* state = nullptr;
    if (cache != nullptr) {
      auto& kept = static_cast<CpuKvCache&>(*cache).layers[static_cast<size_t>(index)].linear;
      if (!kept) kept.emplace(shape);
      state = &*kept;
    }
    pieces.push_back({std::ssize(ids), state});
  }
  if (!layer.linear->run(pieces, linear_)) refuse_not_finite(fmt::format("linear attention of layer {}", index));
  if (tape != nullptr) tape->linear = linear_;
  return linear_.heads;
}

// Checks the ids and makes room for all activations.
void CpuRunner::start(std::span<const Sequence> sequences) {
  ids_.clear();
  places_.clear();
  rope_.forget();
  for (const Sequence& sequence : sequences) {
    int64_t position = sequence.cache != nullptr ? sequence.cache->length() : 0;
    const int64_t length = position + std::ssize(sequence.ids);
    const Place place{rope_.of(length), window_rope_ ? window_rope_->of(length) : nullptr, 0};
    for (const int32_t id : sequence.ids) {
      if (id < 0 || id >= config().vocab_size) {
        throw Error(ErrorCode::usage, "run model", fmt::format("token id {}", id),
                    fmt::format("0 to {}", config().vocab_size - 1));
      }
      ids_.push_back(id);
      places_.push_back(place);
      places_.back().position = position++;
    }
  }
  n_ = static_cast<int64_t>(ids_.size());
  const auto make_room = [this](std::vector<float>& buffer, int64_t width) {
    buffer.resize(static_cast<size_t>(n_ * width));
  };
  const int64_t query = config().num_attention_heads * config().head_dim;
  const int64_t key = config().num_key_value_heads * config().head_dim;
  make_room(x_, config().hidden_size);
  make_room(delta_, config().hidden_size);
  make_room(q_, query);
  make_room(attended_, query);
  make_room(k_, key);
  make_room(v_, key);
  if (architecture().parallel) make_room(beside_, config().hidden_size);
  pending_ = false;
}

void CpuRunner::look_up() {
  embedding_.gather(ids_.data(), n_, x_.data());
  const auto scale = static_cast<float>(config().embedding_scale);
  if (scale != 1) {
    const int64_t width = config().hidden_size;
    parallel_for(n_,
                 [&](int64_t i) { std::for_each_n(x_.begin() + i * width, width, [scale](float& x) { x *= scale; }); });
  }
  last_layer_ = -1;
}

void CpuRunner::run(std::span<const Sequence> sequences, int64_t first, int64_t last, const MomentsTap& tap,
                    LayerTape* tape) {
  for (int64_t i = first; i < last; ++i) {
    attend(i, sequences, tap, tape);
    feed_forward(i, tap, tape);
  }
}

// Where a text grows beyond the length for which its keys were rotated, all of it is run again: under longrope only,
// for under dynamic that would be so with every token, and transformers goes on with the old keys in that case.
std::vector<float> CpuRunner::hidden(std::span<const Sequence> sequences) {
  const auto& scaling = config().rope.scaling;
  if (!scaling || scaling->type != "longrope") return continued(sequences);
  std::vector<Sequence> whole;
  std::vector<std::vector<int32_t>> texts(sequences.size());  // of those that are run again
  bool again = false;
  for (size_t i = 0; i < sequences.size(); ++i) {
    whole.push_back(sequences[i]);
    const auto& [ids, cache] = sequences[i];
    if (cache == nullptr || cache->length() == 0) continue;
    if (!rope_.differ(cache->length(), cache->length() + std::ssize(ids))) continue;
    texts[i] = static_cast<CpuKvCache&>(*cache).take();
    texts[i].insert(texts[i].end(), ids.begin(), ids.end());
    whole.back().ids = texts[i];
    again = true;
  }
  std::vector<float> rows = continued(whole);
  if (!again) return rows;
  std::vector<float> asked;
  auto end = rows.begin();
  for (size_t i = 0; i < sequences.size(); ++i) {
    end += std::ssize(whole[i].ids) * config().hidden_size;
    asked.insert(asked.end(), end - std::ssize(sequences[i].ids) * config().hidden_size, end);
  }
  return asked;
}

std::vector<float> CpuRunner::continued(std::span<const Sequence> sequences) {
  start(sequences);
  look_up();
  run(sequences, 0, layers());
  add_and_norm(norm_);
  for (const Sequence& sequence : sequences) {
    if (sequence.cache == nullptr) continue;
    static_cast<CpuKvCache&>(*sequence.cache).add(sequence.ids);
  }
  return delta_;
}

std::vector<float> CpuRunner::embed(std::span<const Sequence> sequences) {
  start(sequences);
  look_up();
  return x_;
}

void CpuRunner::run_layers(std::span<const Sequence> sequences, int64_t first, int64_t last,
                           std::vector<float>& residual, const MomentsTap& tap) {
  run_between(sequences, first, last, residual, tap, nullptr);
}

std::unique_ptr<KeptInputs> CpuRunner::run_and_keep(std::span<const Sequence> sequences, int64_t layer,
                                                    std::vector<float>& residual) {
  auto kept = std::make_unique<CpuKeptInputs>();
  keep_ = kept.get();
  try {
    run_between(sequences, layer, layer + 1, residual, {}, nullptr);
  } catch (...) {
    keep_ = nullptr;
    throw;
  }
  keep_ = nullptr;
  return kept;
}

void CpuRunner::run_between(std::span<const Sequence> sequences, int64_t first, int64_t last,
                            std::vector<float>& residual, const MomentsTap& tap, LayerTape* tape) {
  start(sequences);
  x_.swap(residual);
  last_layer_ = first - 1;
  run(sequences, first, last, tap, tape);
  const int64_t width = config().hidden_size;
  if (pending_) parallel_for(n_, [&](int64_t i) { add(x_.data() + i * width, delta_.data() + i * width, width); });
  x_.swap(residual);
}

std::vector<float> CpuRunner::last_norm(std::span<const Sequence> sequences, std::span<const float> residual) {
  start(sequences);
  std::copy(residual.begin(), residual.end(), x_.begin());
  last_layer_ = layers() - 1;
  add_and_norm(norm_);
  return delta_;
}

SecondMoments CpuRunner::head_moments(std::span<const Sequence> sequences, std::span<const float> residual) {
  const auto hidden = last_norm(sequences, residual);
  Operand rows(compute());
  rows.set(hidden.data(), n_, hidden_size());
  return second_moments(rows);
}

std::vector<float> CpuRunner::last_norm_gradient(std::span<const float> residual, std::span<const float> outer) const {
  const int64_t width = config().hidden_size;
  std::vector<float> gradient(residual.size());
  parallel_for(static_cast<int64_t>(residual.size()) / width, [&](int64_t i) {
    row_norm_.add_gradient(residual.data() + i * width, norm_.data(), outer.data() + i * width, width,
                           gradient.data() + i * width);
  });
  return gradient;
}

void CpuRunner::run_back(std::span<const Sequence> sequences, int64_t layer, std::vector<float> residual,
                         std::span<std::vector<float>> gradients, const RowsObserver& look,
                         const GradientObserver& observe, const std::function<void()>& done) {
  LayerTape tape;
  run_between(sequences, layer, layer + 1, residual, {}, &tape);
  if (look) look([&tape](const InputPlace& place) { return tape.rows_of(place); });
  const LayerBackward backward(*this, layer, sequences, tape);
  for (auto& gradient : gradients) {
    backward.run(gradient, observe);
    if (done) done();
  }
}

void CpuRunner::logits(const float* hidden, int64_t n, float* out) const {
  Operand rows(compute());
  rows.set(hidden, n, config().hidden_size);
  (config().tie_word_embeddings ? embedding_ : head_).apply(rows, out);
  if (logit_shape().is_plain()) return;
  const auto scale = static_cast<float>(logit_shape().scale), cap = static_cast<float>(logit_shape().cap);
  parallel_for(n, [&](int64_t i) {
    float* const row = out + i * config().vocab_size;
    if (cap > 0) {
      soft_cap(row, scale, cap, config().vocab_size);
    } else {
      std::for_each_n(row, config().vocab_size, [scale](float& x) { x *= scale; });
    }
  });
}

}  // namespace mxq
