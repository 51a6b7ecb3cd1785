#include "model/runner/cpu/cpu_runner.h"

#include <fmt/format.h>

#include <utility>

#include "kernels/matmul.h"
#include "model/runner/cpu/kv_cache.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

/// The config of a model that can be run; see make_runner().
ModelConfig runnable_config(const ModelSource& model) {
  const std::string given =
      model.config() ? fmt::format("architecture '{}'", model.architecture()) : "a model without config.json";
  const Architecture* architecture = model.config() ? find_architecture(model.config()->architecture) : nullptr;
  if (architecture == nullptr) {
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
  if (config.rotary_dim() % 2 != 0 || config.rotary_dim() < 2 || config.rotary_dim() > config.head_dim) {
    throw Error(ErrorCode::invalid_file, "run " + model.path().string(),
                fmt::format("rotary embedding of {} of a head's {} dimensions", config.rotary_dim(), config.head_dim),
                "an even number of them");
  }
  // Before the head size is believed and tables are made for it.
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    if (config.is_linear(layer)) continue;
    for (const NamedTensor& named : layer_tensors(config, layer)) {
      if (named.tensor->part != LayerPart::q && named.tensor->part != LayerPart::qkv) continue;
      const SourceTensor* q = model.find(fmt::format("model.layers.{}.{}.weight", layer, named.hf));
      const int64_t rows = config.extent(named.tensor->rows);
      if (q == nullptr || q->rows() == rows) continue;
      throw Error(
          ErrorCode::invalid_file, "run " + model.path().string(),
          fmt::format("tensor '{}' has {} rows", q->name, q->rows()),
          fmt::format("{}, for the config says {} heads of {}", rows, config.num_attention_heads, config.head_dim));
    }
    break;
  }
  return config;
}

RunnerFacts facts_of(const ModelConfig& config, const RunOptions& options) {
  const int64_t keys = config.num_key_value_heads * config.head_dim, number = options.compute == Compute::bf16 ? 2 : 4;
  return {.config = config,
          .cache_bytes_per_token = config.attention_layers() * 2 * keys * number,
          .cache_bytes_per_text = linear_state_bytes(config),
          .compute = options.compute};
}

/// One matrix of a runner and what is to take its place.
class CpuReplacement final : public Replacement {
 public:
  CpuReplacement(Linear& matrix, Linear other) : matrix_(matrix), other_(std::move(other)) {}

  void swap() override { std::swap(matrix_, other_); }

 private:
  Linear& matrix_;
  Linear other_;
};

}  // namespace

CpuRunner::CpuRunner(const ModelSource& model, const RunOptions& options, Progress* progress)
    : CpuRunner(model, runnable_config(model), options, or_silent(progress)) {}

CpuRunner::CpuRunner(const ModelSource& model, const ModelConfig& c, const RunOptions& options, Progress& progress)
    : Runner(facts_of(c, options)),
      rope_(c.rope_shape(), architecture().rotates_neighbours),
      row_norm_{architecture().norm, static_cast<float>(c.norm_eps)},
      operand_(options.compute) {
  if (c.window_rope) {
    window_rope_.emplace(RopeShape{*c.window_rope, c.rotary_dim(), c.max_position_embeddings},
                         architecture().rotates_neighbours);
  }
  if (compute() == Compute::bf16 && !bf16_matmul_supported()) {
    throw Error(ErrorCode::unsupported, "run " + model.path().string(), "bf16 on a processor without AVX-512", "f32");
  }
  const auto scratch = std::make_shared<Operand>(compute());
  int64_t weights = c.vocab_size * c.hidden_size * (c.tie_word_embeddings ? 1 : 2), loaded = 0;
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) weights += layer_weights(c, i).all;
  progress.begin("load", weights);
  const auto linear = [&](std::string_view name, int64_t out, int64_t in, bool biased = false) {
    Linear matrix(model, std::string(name), out, in, biased, options.packed, scratch);
    progress.update(loaded += out * in);
    return matrix;
  };
  embedding_ = linear(kEmbedding, c.vocab_size, c.hidden_size);
  if (!c.tie_word_embeddings) head_ = linear(kHead, c.vocab_size, c.hidden_size);
  const auto norm = [&](const std::string& name, const std::vector<int64_t>& shape) {
    auto weight = read_tensor(model, name, shape);
    if (architecture().norm == Norm::rms_plus_one) {
      for (float& w : weight) w += 1;
    }
    return weight;
  };
  norm_ = norm("model.norm.weight", {c.hidden_size});
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    Layer layer;
    if (c.has_experts(i)) layer.experts.resize(static_cast<size_t>(c.mixture.experts));
    for (const NamedTensor& named : layer_tensors(c, i)) {
      const LayerTensor& tensor = *named.tensor;
      const std::string name = fmt::format("model.layers.{}.{}", i, named.hf);
      if (named.is_matrix()) {
        layer.at(named) = linear(name, c.extent(tensor.rows), c.extent(tensor.cols), c.has_bias(tensor.part));
      } else {
        const auto shape = tensor_shape(c, tensor);
        const std::string whole = name + std::string(tensor.hf_ending);
        layer.norms[static_cast<size_t>(tensor.part)] =
            is_common_norm(tensor.part) ? norm(whole, shape) : read_tensor(model, whole, shape);
      }
    }
    if (c.is_linear(i)) {
      using enum LayerPart;
      layer.linear.emplace(c.linear, static_cast<float>(c.norm_eps), layer.norm(linear_conv), layer.norm(linear_a_log),
                           layer.norm(linear_dt_bias), layer.norm(linear_norm));
    }
    layers_.push_back(std::move(layer));
  }
  progress.end();
}

int64_t CpuRunner::resident_bytes() const {
  int64_t bytes = embedding_.resident_bytes() + head_.resident_bytes();
  for (const Layer& layer : layers_) {
    for (const Linear& matrix : layer.matrices) bytes += matrix.resident_bytes();
    for (const Expert& expert : layer.experts) {
      bytes += expert.gate.resident_bytes() + expert.up.resident_bytes() + expert.down.resident_bytes();
    }
  }
  return bytes;
}

std::unique_ptr<KvCache> CpuRunner::make_cache() const {
  return std::make_unique<CpuKvCache>(layers());
}

Linear* CpuRunner::find(const std::string& name) {
  if (name == kEmbedding) return &embedding_;
  if (name == head()) return &head_;
  const auto parsed = parse_matrix_name(name + ".weight");
  if (!parsed || stack_name(name) != "model.layers") return nullptr;  // another stack's matrix may have that module
  const auto index = parse_int(parsed->layer);
  if (!index || *index >= layers()) return nullptr;
  const auto tensor = find_layer_tensor(config(), *index, parsed->module);
  return tensor && tensor->is_matrix() ? &layers_[static_cast<size_t>(*index)].at(*tensor) : nullptr;
}

Linear& CpuRunner::matrix(const std::string& name) {
  Linear* const found = find(name);
  if (found != nullptr) return *found;
  throw Error(ErrorCode::usage, "look for weights", fmt::format("matrix '{}'", name), "one that the model runs with");
}

std::optional<MatrixShape> CpuRunner::find_matrix(const std::string& name) const {
  const Linear* const found = find(name);
  if (found == nullptr) return std::nullopt;
  return MatrixShape{found->out_features(), found->in_features()};
}

std::span<const float> CpuRunner::weights(const std::string& name, std::vector<float>& room) const {
  const Linear& found = matrix(name);
  return {found.floats(room), static_cast<size_t>(found.out_features() * found.in_features())};
}

std::unique_ptr<Replacement> CpuRunner::make_replacement(const std::string& name, std::vector<float> weights) {
  Linear& found = matrix(name);
  const auto count = static_cast<size_t>(found.out_features() * found.in_features());
  if (weights.size() != count) {
    throw Error(ErrorCode::usage, "replace weights", fmt::format("{} weights for '{}'", weights.size(), name),
                fmt::format("{}", count));
  }
  return std::make_unique<CpuReplacement>(
      found, name == kEmbedding ? found.with_rows(std::move(weights)) : found.with_weights(weights.data()));
}

}  // namespace mxq
