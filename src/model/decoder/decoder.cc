#include "model/decoder/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "kernels/rows.h"
#include "model/decoder/attention.h"
#include "mxq/error.h"

namespace mxq {

namespace {

ModelConfig runnable_config(const ModelSource& model) {
  const auto& known = decoder_architectures();
  const std::string given =
      model.config() ? fmt::format("architecture '{}'", model.architecture()) : "a model without config.json";
  if (!model.config() || std::find(known.begin(), known.end(), model.architecture()) == known.end()) {
    throw Error(ErrorCode::unsupported, "run " + model.path().string(), given,
                fmt::format("{}", fmt::join(known, ", ")));
  }
  const ModelConfig& config = *model.config();
  if (config.head_dim % 2 != 0 || config.num_attention_heads % config.num_key_value_heads != 0) {
    throw Error(ErrorCode::invalid_file, "run " + model.path().string(),
                fmt::format("{} heads, {} KV heads of {}", config.num_attention_heads, config.num_key_value_heads,
                            config.head_dim),
                "an even head size and a multiple of the KV heads");
  }
  return config;
}

/// x[i] = rms_norm(x[i]) for n rows.
void norm_rows(const std::vector<float>& weight, double eps, int64_t n, const float* x, float* out) {
  const auto width = static_cast<int64_t>(weight.size());
  parallel_for(
      n, [&](int64_t i) { rms_norm(x + i * width, weight.data(), static_cast<float>(eps), width, out + i * width); });
}

void add(std::vector<float>& x, const std::vector<float>& y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[static_cast<size_t>(i)] += y[static_cast<size_t>(i)];
}

}  // namespace

const std::vector<std::string>& decoder_architectures() {
  static const std::vector<std::string> names{"llama", "mistral", "qwen2", "qwen3"};
  return names;
}

Decoder::Decoder(const ModelSource& model, Residence residence) : config_(runnable_config(model)), rope_(config_) {
  const ModelConfig& c = config_;
  const auto scratch = std::make_shared<std::vector<float>>();
  const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
    if (residence == Residence::floats) resident_bytes_ += 4 * out * in;
    return Linear(model, name, out, in, residence, scratch);
  };
  const int64_t query = c.num_attention_heads * c.head_dim, key = c.num_key_value_heads * c.head_dim;
  embedding_ = linear("model.embed_tokens", c.vocab_size, c.hidden_size);
  if (!c.tie_word_embeddings) head_ = linear("lm_head", c.vocab_size, c.hidden_size);
  norm_ = read_vector(model, "model.norm.weight", c.hidden_size);
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    const auto optional_norm = [&](const char* name) {
      const std::string tensor = prefix + name;
      return model.find(tensor) != nullptr ? read_vector(model, tensor, c.head_dim) : std::vector<float>();
    };
    Layer layer;
    layer.input_norm = read_vector(model, prefix + "input_layernorm.weight", c.hidden_size);
    layer.post_attention_norm = read_vector(model, prefix + "post_attention_layernorm.weight", c.hidden_size);
    layer.q_norm = optional_norm("self_attn.q_norm.weight");
    layer.k_norm = optional_norm("self_attn.k_norm.weight");
    layer.q = linear(prefix + "self_attn.q_proj", query, c.hidden_size);
    layer.k = linear(prefix + "self_attn.k_proj", key, c.hidden_size);
    layer.v = linear(prefix + "self_attn.v_proj", key, c.hidden_size);
    layer.o = linear(prefix + "self_attn.o_proj", c.hidden_size, query);
    layer.gate = linear(prefix + "mlp.gate_proj", c.intermediate_size, c.hidden_size);
    layer.up = linear(prefix + "mlp.up_proj", c.intermediate_size, c.hidden_size);
    layer.down = linear(prefix + "mlp.down_proj", c.hidden_size, c.intermediate_size);
    layers_.push_back(std::move(layer));
  }
}

void Decoder::attend(const Layer& layer, int64_t n) {
  const AttentionShape shape{config_.num_attention_heads, config_.num_key_value_heads, config_.head_dim,
                             config_.sliding_window.value_or(0)};
  norm_rows(layer.input_norm, config_.rms_norm_eps, n, x_.data(), normed_.data());
  layer.q.apply(normed_.data(), n, q_.data());
  layer.k.apply(normed_.data(), n, k_.data());
  layer.v.apply(normed_.data(), n, v_.data());
  const auto rotate = [&](std::vector<float>& heads, int64_t count, const std::vector<float>& norm) {
    parallel_for(n, [&](int64_t i) {
      for (int64_t h = 0; h < count; ++h) {
        float* head = heads.data() + (i * count + h) * shape.head_dim;
        if (!norm.empty()) {
          rms_norm(head, norm.data(), static_cast<float>(config_.rms_norm_eps), shape.head_dim, head);
        }
        rope_.rotate(head, i);
      }
    });
  };
  rotate(q_, shape.heads, layer.q_norm);
  rotate(k_, shape.kv_heads, layer.k_norm);
  causal_attention(shape, n, q_.data(), k_.data(), v_.data(), attended_.data());
  layer.o.apply(attended_.data(), n, normed_.data());
  add(x_, normed_, n * config_.hidden_size);
}

void Decoder::feed_forward(const Layer& layer, int64_t n) {
  norm_rows(layer.post_attention_norm, config_.rms_norm_eps, n, x_.data(), normed_.data());
  layer.gate.apply(normed_.data(), n, gate_.data());
  layer.up.apply(normed_.data(), n, up_.data());
  const int64_t width = config_.intermediate_size;
  parallel_for(n, [&](int64_t i) { silu_multiply(gate_.data() + i * width, up_.data() + i * width, width); });
  layer.down.apply(gate_.data(), n, normed_.data());
  add(x_, normed_, n * config_.hidden_size);
}

std::vector<float> Decoder::hidden(std::span<const int32_t> ids) {
  const auto n = static_cast<int64_t>(ids.size());
  for (const int32_t id : ids) {
    if (id < 0 || id >= config_.vocab_size) {
      throw Error(ErrorCode::usage, "run model", fmt::format("token id {}", id),
                  fmt::format("0 to {}", config_.vocab_size - 1));
    }
  }
  const auto make_room = [n](std::vector<float>& buffer, int64_t width) {
    buffer.resize(static_cast<size_t>(n * width));
  };
  const int64_t query = config_.num_attention_heads * config_.head_dim;
  const int64_t key = config_.num_key_value_heads * config_.head_dim;
  make_room(x_, config_.hidden_size);
  make_room(normed_, config_.hidden_size);
  make_room(q_, query);
  make_room(attended_, query);
  make_room(k_, key);
  make_room(v_, key);
  make_room(gate_, config_.intermediate_size);
  make_room(up_, config_.intermediate_size);
  rope_.reserve(n);
  embedding_.gather(ids.data(), n, x_.data());
  for (size_t i = 0; i < layers_.size(); ++i) {
    attend(layers_[i], n);
    feed_forward(layers_[i], n);
    if (!std::all_of(x_.begin(), x_.end(), [](float v) { return std::isfinite(v); })) {
      throw Error(ErrorCode::not_finite, "run model", fmt::format("layer {} gives NaN or infinity", i));
    }
  }
  std::vector<float> out(x_.size());
  norm_rows(norm_, config_.rms_norm_eps, n, x_.data(), out.data());
  return out;
}

void Decoder::logits(const float* hidden, int64_t n, float* out) const {
  (config_.tie_word_embeddings ? embedding_ : head_).apply(hidden, n, out);
}

}  // namespace mxq
