#include "model/runner/cpu/cpu_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <map>

#include "base/parallel.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"
#include "model/runner/cpu/attention.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

/// The config of a model that can be run; see Decoder().
ModelConfig runnable_config(const ModelSource& model) {
  const std::string given =
      model.config() ? fmt::format("architecture '{}'", model.architecture()) : "a model without config.json";
  if (!model.config() || find_architecture(model.architecture()) == nullptr) {
    throw Error(ErrorCode::unsupported, "run " + model.path().string(), given, architecture_names());
  }
  const ModelConfig& config = *model.config();
  if (!config.unsupported.empty()) {
    const Unsupported& first = config.unsupported.front();
    throw Error(ErrorCode::unsupported, "run " + model.path().string(), first.given, first.supported);
  }
  if (config.head_dim % 2 != 0 || config.num_attention_heads % config.num_key_value_heads != 0) {
    throw Error(ErrorCode::invalid_file, "run " + model.path().string(),
                fmt::format("{} heads, {} KV heads of {}", config.num_attention_heads, config.num_key_value_heads,
                            config.head_dim),
                "an even head size and a multiple of the KV heads");
  }
  // Before the head size is believed and tables are made for it.
  const SourceTensor* q = model.find("model.layers.0.self_attn.q_proj.weight");
  const int64_t rows = config.num_attention_heads * config.head_dim;
  if (q != nullptr && q->rows() != rows) {
    throw Error(ErrorCode::invalid_file, "run " + model.path().string(),
                fmt::format("tensor '{}' has {} rows", q->name, q->rows()),
                fmt::format("{}, for the config says {} heads of {}", rows, config.num_attention_heads, config.head_dim));
  }
  return config;
}

}  // namespace

const std::vector<float>& LayerTape::input_of(std::string_view module) const {
  static const std::map<LayerInput, std::vector<float> LayerTape::*> inputs{
      {LayerInput::attention, &LayerTape::attention_input},
      {LayerInput::heads, &LayerTape::heads},
      {LayerInput::feed_forward, &LayerTape::feed_forward_input},
      {LayerInput::gated, &LayerTape::gated}};
  for (const auto& [input, values] : inputs) {
    const auto modules = modules_of(input);
    if (std::find(modules.begin(), modules.end(), module) != modules.end()) return this->*values;
  }
  throw Error(ErrorCode::usage, "look at a layer", fmt::format("module '{}'", module), "one of a decoder's layer");
}

Decoder::Decoder(const ModelSource& model, const RunOptions& options)
    : config_(runnable_config(model)), compute_(options.compute), rope_(config_), operand_(options.compute) {
  if (compute_ == Compute::bf16 && !bf16_matmul_supported()) {
    throw Error(ErrorCode::unsupported, "run " + model.path().string(), "bf16 on a processor without AVX-512", "f32");
  }
  const ModelConfig& c = config_;
  const auto scratch = std::make_shared<Operand>(compute_);
  const auto linear = [&](const std::string& name, int64_t out, int64_t in, bool biased = false) {
    return Linear(model, name, out, in, biased, options.packed, scratch);
  };
  const int64_t query = c.num_attention_heads * c.head_dim, key = c.num_key_value_heads * c.head_dim;
  embedding_ = linear("model.embed_tokens", c.vocab_size, c.hidden_size);
  if (!c.tie_word_embeddings) head_ = linear("lm_head", c.vocab_size, c.hidden_size);
  const bool head_norms = find_architecture(c.architecture)->head_norms;
  norm_ = read_vector(model, "model.norm.weight", c.hidden_size);
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    const auto head_norm = [&](const char* name) {
      return head_norms ? read_vector(model, prefix + name, c.head_dim) : std::vector<float>();
    };
    Layer layer;
    layer.input_norm = read_vector(model, prefix + "input_layernorm.weight", c.hidden_size);
    layer.post_attention_norm = read_vector(model, prefix + "post_attention_layernorm.weight", c.hidden_size);
    layer.q_norm = head_norm("self_attn.q_norm.weight");
    layer.k_norm = head_norm("self_attn.k_norm.weight");
    layer.q = linear(prefix + "self_attn.q_proj", query, c.hidden_size, c.attention_bias);
    layer.k = linear(prefix + "self_attn.k_proj", key, c.hidden_size, c.attention_bias);
    layer.v = linear(prefix + "self_attn.v_proj", key, c.hidden_size, c.attention_bias);
    layer.o = linear(prefix + "self_attn.o_proj", c.hidden_size, query, c.output_bias);
    layer.gate = linear(prefix + "mlp.gate_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    layer.up = linear(prefix + "mlp.up_proj", c.intermediate_size, c.hidden_size, c.mlp_bias);
    layer.down = linear(prefix + "mlp.down_proj", c.hidden_size, c.intermediate_size, c.mlp_bias);
    layers_.push_back(std::move(layer));
  }
}

int64_t Decoder::cache_bytes_per_token() const {
  return layers() * 2 * config_.num_key_value_heads * config_.head_dim * static_cast<int64_t>(sizeof(float));
}

int64_t Decoder::resident_bytes() const {
  int64_t bytes = embedding_.resident_bytes() + head_.resident_bytes();
  for (const Layer& layer : layers_) {
    for (const Linear* linear : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      bytes += linear->resident_bytes();
    }
  }
  return bytes;
}

namespace {

/// What a norm of a mean square that is not finite says. Such a norm of finite values would be 0, as it is in other
/// programs, and the result as good as none.
[[noreturn]] void refuse_not_finite(const std::string& name) {
  throw Error(ErrorCode::not_finite, "run model", name + " gives NaN or infinity",
              "finite values whose squares fp32 can add up");
}

}  // namespace

// Adds to x_ what is pending; then delta_ and operand_ = rms_norm(x_).
void Decoder::add_and_norm(const std::vector<float>& weight) {
  const int64_t width = config_.hidden_size;
  operand_.resize(n_, width);
  std::atomic<bool> finite{true};
  parallel_for(n_, [&](int64_t i) {
    float* x = x_.data() + i * width;
    float* delta = delta_.data() + i * width;
    if (pending_) add(x, delta, width);
    if (!std::isfinite(rms_norm(x, weight.data(), static_cast<float>(config_.rms_norm_eps), width, delta))) {
      finite = false;
    }
    operand_.set_row(i, delta);
  });
  pending_ = false;
  if (!finite) refuse_not_finite(last_layer_ < 0 ? "the embedding" : fmt::format("layer {}", last_layer_));
}

// Leaves pending what attention adds to x_.
void Decoder::attend(int64_t index, std::span<const Sequence> sequences, const InputObserver& observe,
                     LayerTape* tape) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const AttentionShape shape{config_.num_attention_heads, config_.num_key_value_heads, config_.head_dim,
                             config_.window_of(index)};
  const int64_t q_row = shape.heads * shape.head_dim, kv_row = shape.kv_heads * shape.head_dim;
  add_and_norm(layer.input_norm);
  if (tape != nullptr) {
    tape->residual = x_;
    tape->attention_input = delta_;
  }
  if (observe) observe(index, LayerInput::attention, operand_);
  layer.q.apply(operand_, q_.data());
  layer.k.apply(operand_, k_.data());
  layer.v.apply(operand_, v_.data());
  if (tape != nullptr) {
    tape->plain_q = layer.q_norm.empty() ? std::vector<float>() : q_;
    tape->plain_k = layer.k_norm.empty() ? std::vector<float>() : k_;
  }
  std::atomic<bool> finite{true};
  parallel_for(n_, [&](int64_t i) {
    const auto rotate = [&](float* heads, int64_t count, const std::vector<float>& norm) {
      for (float* head = heads; head < heads + count * shape.head_dim; head += shape.head_dim) {
        if (!norm.empty() && !std::isfinite(rms_norm(head, norm.data(), static_cast<float>(config_.rms_norm_eps),
                                                     shape.head_dim, head))) {
          finite = false;
        }
        rope_.rotate(head, positions_[static_cast<size_t>(i)]);
      }
    };
    rotate(q_.data() + i * q_row, shape.heads, layer.q_norm);
    rotate(k_.data() + i * kv_row, shape.kv_heads, layer.k_norm);
  });
  if (!finite) refuse_not_finite(fmt::format("q_proj or k_proj of layer {}", index));

  std::vector<AttentionInput> inputs;
  int64_t row = 0;
  for (const Sequence& sequence : sequences) {
    const auto n = static_cast<int64_t>(sequence.ids.size());
    AttentionInput input{n,
                         0,
                         q_.data() + row * q_row,
                         k_.data() + row * kv_row,
                         v_.data() + row * kv_row,
                         attended_.data() + row * q_row};
    if (sequence.cache != nullptr) {
      KvCache::Layer& cache = sequence.cache->layers[static_cast<size_t>(index)];
      cache.keys.insert(cache.keys.end(), input.keys, input.keys + n * kv_row);
      cache.values.insert(cache.values.end(), input.values, input.values + n * kv_row);
      input.past = sequence.cache->length;
      input.keys = cache.keys.data();
      input.values = cache.values.data();
    }
    inputs.push_back(input);
    row += n;
  }
  causal_attention(shape, compute_, inputs);
  if (tape != nullptr) {
    tape->q = q_;
    tape->k = k_;
    tape->v = v_;
    tape->heads = attended_;
  }
  operand_.set(attended_.data(), n_, q_row);
  if (observe) observe(index, LayerInput::heads, operand_);
  layer.o.apply(operand_, delta_.data());
  pending_ = true;
  last_layer_ = index;
}

// Likewise the feed-forward network.
void Decoder::feed_forward(int64_t index, const InputObserver& observe, LayerTape* tape) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  add_and_norm(layer.post_attention_norm);
  if (tape != nullptr) {
    tape->middle = x_;
    tape->feed_forward_input = delta_;
  }
  if (observe) observe(index, LayerInput::feed_forward, operand_);
  layer.gate.apply(operand_, gate_.data());
  layer.up.apply(operand_, up_.data());
  if (tape != nullptr) {
    tape->gate = gate_;
    tape->up = up_;
  }
  const int64_t width = config_.intermediate_size;
  operand_.resize(n_, width);
  parallel_for(n_, [&](int64_t i) {
    silu_multiply(gate_.data() + i * width, up_.data() + i * width, width);
    operand_.set_row(i, gate_.data() + i * width);
  });
  if (tape != nullptr) tape->gated = gate_;
  if (observe) observe(index, LayerInput::gated, operand_);
  layer.down.apply(operand_, delta_.data());
  pending_ = true;
}

// Checks the ids and makes room for all activations.
void Decoder::start(std::span<const Sequence> sequences) {
  ids_.clear();
  positions_.clear();
  for (const Sequence& sequence : sequences) {
    int64_t position = sequence.cache != nullptr ? sequence.cache->length : 0;
    for (const int32_t id : sequence.ids) {
      if (id < 0 || id >= config_.vocab_size) {
        throw Error(ErrorCode::usage, "run model", fmt::format("token id {}", id),
                    fmt::format("0 to {}", config_.vocab_size - 1));
      }
      ids_.push_back(id);
      positions_.push_back(position++);
    }
    rope_.reserve(position);
    if (sequence.cache != nullptr) sequence.cache->layers.resize(layers_.size());
  }
  n_ = static_cast<int64_t>(ids_.size());
  const auto make_room = [this](std::vector<float>& buffer, int64_t width) {
    buffer.resize(static_cast<size_t>(n_ * width));
  };
  const int64_t query = config_.num_attention_heads * config_.head_dim;
  const int64_t key = config_.num_key_value_heads * config_.head_dim;
  make_room(x_, config_.hidden_size);
  make_room(delta_, config_.hidden_size);
  make_room(q_, query);
  make_room(attended_, query);
  make_room(k_, key);
  make_room(v_, key);
  make_room(gate_, config_.intermediate_size);
  make_room(up_, config_.intermediate_size);
  pending_ = false;
}

void Decoder::look_up() {
  embedding_.gather(ids_.data(), n_, x_.data());
  last_layer_ = -1;
}

void Decoder::run(std::span<const Sequence> sequences, int64_t first, int64_t last, const InputObserver& observe,
                  LayerTape* tape) {
  for (int64_t i = first; i < last; ++i) {
    attend(i, sequences, observe, tape);
    feed_forward(i, observe, tape);
  }
}

std::vector<float> Decoder::hidden(std::span<const int32_t> ids) {
  const Sequence sequence{ids};
  return hidden(std::span(&sequence, 1));
}

std::vector<float> Decoder::hidden(std::span<const Sequence> sequences) {
  start(sequences);
  look_up();
  run(sequences, 0, layers());
  add_and_norm(norm_);
  for (const Sequence& sequence : sequences) {
    if (sequence.cache != nullptr) sequence.cache->length += static_cast<int64_t>(sequence.ids.size());
  }
  return delta_;
}

std::vector<float> Decoder::embed(std::span<const Sequence> sequences) {
  start(sequences);
  look_up();
  return x_;
}

void Decoder::run_layers(std::span<const Sequence> sequences, int64_t first, int64_t last, std::vector<float>& residual,
                         const InputObserver& observe) {
  run_between(sequences, first, last, residual, observe, nullptr);
}

void Decoder::run_layer(std::span<const Sequence> sequences, int64_t index, std::vector<float>& residual,
                        LayerTape& tape) {
  run_between(sequences, index, index + 1, residual, {}, &tape);
}

void Decoder::run_between(std::span<const Sequence> sequences, int64_t first, int64_t last,
                          std::vector<float>& residual, const InputObserver& observe, LayerTape* tape) {
  start(sequences);
  x_.swap(residual);
  last_layer_ = first - 1;
  run(sequences, first, last, observe, tape);
  const int64_t width = config_.hidden_size;
  if (pending_) parallel_for(n_, [&](int64_t i) { add(x_.data() + i * width, delta_.data() + i * width, width); });
  x_.swap(residual);
}

std::vector<float> Decoder::last_norm(std::span<const Sequence> sequences, std::span<const float> residual) {
  start(sequences);
  std::copy(residual.begin(), residual.end(), x_.begin());
  last_layer_ = layers() - 1;
  add_and_norm(norm_);
  return delta_;
}

std::vector<float> Decoder::last_norm_gradient(std::span<const float> residual, std::span<const float> outer) const {
  const int64_t width = config_.hidden_size;
  std::vector<float> gradient(residual.size());
  parallel_for(static_cast<int64_t>(residual.size()) / width, [&](int64_t i) {
    add_rms_norm_gradient(residual.data() + i * width, norm_.data(), static_cast<float>(config_.rms_norm_eps),
                          outer.data() + i * width, width, gradient.data() + i * width);
  });
  return gradient;
}

Linear* Decoder::find_matrix(const std::string& name) {
  static const std::map<std::string, Linear Layer::*> modules{
      {"self_attn.q_proj", &Layer::q}, {"self_attn.k_proj", &Layer::k}, {"self_attn.v_proj", &Layer::v},
      {"self_attn.o_proj", &Layer::o}, {"mlp.gate_proj", &Layer::gate}, {"mlp.up_proj", &Layer::up},
      {"mlp.down_proj", &Layer::down}};
  if (name == kEmbedding) return &embedding_;
  if (name == head()) return &head_;
  const auto parsed = parse_matrix_name(name + ".weight");
  if (!parsed || stack_name(name) != "model.layers") return nullptr;  // another stack's matrix may have that module
  const auto module = modules.find(parsed->module);
  const auto index = parse_int(parsed->layer);
  if (module == modules.end() || !index || *index >= layers()) return nullptr;
  return &(layers_[static_cast<size_t>(*index)].*module->second);
}

void Decoder::logits(const float* hidden, int64_t n, float* out) const {
  Operand rows(compute_);
  rows.set(hidden, n, config_.hidden_size);
  (config_.tie_word_embeddings ? embedding_ : head_).apply(rows, out);
}

}  // namespace mxq
