// A configuration as GGUF metadata, and whether they say all of it.
// Sources: set_gguf_parameters() of the classes in llama.cpp's convert_hf_to_gguf.py, and what its loader requires.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "model/arch/architecture.h"
#include "model/gguf_config.h"
#include "model/gguf_keys.h"
#include "model/gguf_rope.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "write GGUF";

const Architecture& architecture_of(const ModelConfig& config) {
  const Architecture* const architecture = find_architecture(config.architecture);
  if (architecture == nullptr || architecture->written_gguf_name().empty()) {
    throw Error(ErrorCode::unsupported, kOperation, fmt::format("architecture {}", in_quotes(config.architecture)),
                written_gguf_architecture_names());
  }
  return *architecture;
}

// Of architectures whose windows llama.cpp has, or that mxq tells by the key. Which layers have the window is as
// llama.cpp takes it for granted: not all versions of it read a pattern.
void write_window_keys(const ModelConfig& config, const Architecture& architecture, GgufKeys& keys) {
  constexpr const char* name = "attention.sliding_window";
  if (architecture.window == WindowRule::all_layers) {
    if (config.sliding_window) keys.u32(name, *config.sliding_window);
  } else if (architecture.window == WindowRule::pattern) {
    const auto& layers = config.window_layers;
    const bool any = layers.empty() || std::find(layers.begin(), layers.end(), true) != layers.end();
    keys.u32(name, any ? config.sliding_window.value_or(0) : 0);
  }
}

bool near(double a, double b) {
  return std::abs(a - b) <= 1e-6 * std::max(std::abs(a), std::abs(b));
}

bool same_angles(const RopeShape& a, const RopeShape& b) {
  // Of a text of any kind of length.
  for (const int64_t length : {int64_t{0}, a.max_positions, 2 * a.max_positions}) {
    const RopeAngles here = rope_angles(a, length), there = rope_angles(b, length);
    // What is tabulated has seven digits.
    const auto close = [](double x, double y) { return std::abs(x - y) <= 1e-5 * std::abs(x); };
    if (!close(here.scale, there.scale) || !std::equal(here.frequencies.begin(), here.frequencies.end(),
                                                       there.frequencies.begin(), there.frequencies.end(), close)) {
      return false;
    }
  }
  return true;
}

std::string scaling_name(const RopeSettings& rope) {
  if (!rope.scaling) return "none";
  const auto& [type, truncate] = std::pair(rope.scaling->type, rope.scaling->truncate);
  return fmt::format("of type '{}'{}", type, type != "yarn" ? "" : truncate ? ", truncate true" : ", truncate false");
}

std::string_view name_of(Activation activation) {
  return activation == Activation::silu ? "silu" : activation == Activation::gelu ? "gelu" : "clamped silu";
}

// Throws where a part of the configuration comes back as another.
class Comparison {
 public:
  Comparison(const ModelConfig& config, const ModelConfig& read) : config_(config), read_(read) {}

  void run() const {
    for (const auto& [name, member] : {std::pair("hidden_size", &ModelConfig::hidden_size),
                                       {"intermediate_size", &ModelConfig::intermediate_size},
                                       {"num_hidden_layers", &ModelConfig::num_hidden_layers},
                                       {"num_attention_heads", &ModelConfig::num_attention_heads},
                                       {"num_key_value_heads", &ModelConfig::num_key_value_heads},
                                       {"head_dim", &ModelConfig::head_dim},
                                       {"vocab_size", &ModelConfig::vocab_size},
                                       {"max_position_embeddings", &ModelConfig::max_position_embeddings}}) {
      if (config_.*member != read_.*member) lost(name, config_.*member, read_.*member);
    }
    for (const auto& [name, member] : {std::pair("the norms' epsilon", &ModelConfig::norm_eps),
                                       {"the cap of scores", &ModelConfig::score_cap},
                                       {"the cap of logits", &ModelConfig::logit_cap},
                                       {"the scale of embeddings", &ModelConfig::embedding_scale},
                                       {"the scale of what layers add", &ModelConfig::residual_scale},
                                       {"the scale of logits", &ModelConfig::logit_scale}}) {
      if (!near(config_.*member, read_.*member)) lost(name, config_.*member, read_.*member);
    }
    for (const auto& [name, member] : {std::pair("tie_word_embeddings", &ModelConfig::tie_word_embeddings),
                                       {"a bias of q, k and v", &ModelConfig::attention_bias},
                                       {"a bias of o", &ModelConfig::output_bias},
                                       {"a bias of the feed-forward network", &ModelConfig::mlp_bias}}) {
      if (config_.*member != read_.*member) lost(name, config_.*member, read_.*member);
    }
    if (config_.activation != read_.activation) {
      lost("the activation", name_of(config_.activation), name_of(read_.activation));
    }
    const double scale = config_.score_scale.value_or(config_.usual_score_scale());
    const double scale_read = read_.score_scale.value_or(read_.usual_score_scale());
    if (!near(scale, scale_read)) lost("the scale of scores", scale, scale_read);
    layers();
    rope();
    mixture();
    if (!(config_.linear == read_.linear)) throw_lost("linear attention as it is configured", "what GGUF can say");
  }

 private:
  [[noreturn]] static void throw_lost(std::string given, std::string supported) {
    throw Error(ErrorCode::unsupported, kOperation, std::move(given), std::move(supported));
  }
  template <typename T>
  [[noreturn]] static void lost(std::string_view name, const T& value, const T& instead) {
    throw_lost(fmt::format("{} is {}", name, value), fmt::format("{}, which llama.cpp takes for granted", instead));
  }

  void layers() const {
    for (int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      const auto differs = [&](const char* what, auto of) {
        const auto here = of(config_, layer), there = of(read_, layer);
        if (here != there) lost(fmt::format("{} of layer {}", what, layer), here, there);
      };
      differs("the window", [](const ModelConfig& c, int64_t i) { return c.window_of(i); });
      differs("rotary embedding", [](const ModelConfig& c, int64_t i) { return c.rotates(i); });
      differs("the mixture", [](const ModelConfig& c, int64_t i) { return c.has_experts(i); });
      differs("linear attention", [](const ModelConfig& c, int64_t i) { return c.is_linear(i); });
    }
  }

  void rope() const {
    if (config_.rotary_dim() != read_.rotary_dim()) {
      lost("the rotated part of a head", config_.rotary_dim(), read_.rotary_dim());
    }
    const auto compare = [&](const RopeSettings& here, const RopeSettings& there, const char* what) {
      RopeShape a = config_.rope_shape(), b = read_.rope_shape();
      a.settings = here;
      b.settings = there;
      if (!same_angles(a, b)) {
        throw_lost(fmt::format("rope scaling {}{}, of base {}", what, scaling_name(here), here.theta),
                   fmt::format("what GGUF can say: {}, of base {}", scaling_name(there), there.theta));
      }
    };
    compare(config_.rope, read_.rope, "");
    if (config_.window_rope || read_.window_rope) {
      compare(config_.window_rope.value_or(config_.rope), read_.window_rope.value_or(read_.rope), "of windows ");
    }
  }

  void mixture() const {
    const Mixture &here = config_.mixture, &there = read_.mixture;
    for (const auto& [name, member] : {std::pair("experts", &Mixture::experts),
                                       {"experts of a token", &Mixture::per_token},
                                       {"intermediate size of experts", &Mixture::intermediate_size},
                                       {"intermediate size beside the experts", &Mixture::shared_intermediate_size}}) {
      if (here.*member != there.*member) lost(name, here.*member, there.*member);
    }
    if (here.experts > 0 && here.normalised != there.normalised) {
      lost("norm_topk_prob", here.normalised, there.normalised);
    }
    if (here.biases != there.biases) lost("biases of experts", here.biases, there.biases);
  }

  const ModelConfig& config_;
  const ModelConfig& read_;
};

}  // namespace

bool has_gguf_architecture(const ModelConfig& config) {
  const Architecture* const architecture = find_architecture(config.architecture);
  return architecture != nullptr && !architecture->written_gguf_name().empty();
}

std::vector<GgufEntry> gguf_config_entries(const ModelConfig& config, int64_t mtp_layers) {
  const Architecture& architecture = architecture_of(config);
  const std::string name(architecture.written_gguf_name());
  GgufKeys keys(name);
  keys.u32("context_length", config.max_position_embeddings);
  keys.u32("embedding_length", config.hidden_size);
  keys.u32("block_count", config.num_hidden_layers + mtp_layers);
  if (architecture.dense_networks) keys.u32("feed_forward_length", config.intermediate_size);
  keys.u32("attention.head_count", config.num_attention_heads);
  keys.u32("attention.head_count_kv", config.num_key_value_heads);
  keys.u32("attention.key_length", config.head_dim);
  keys.u32("attention.value_length", config.head_dim);
  keys.f32(architecture.norm == Norm::layer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
           config.norm_eps);
  keys.u32("vocab_size", config.vocab_size);
  write_gguf_rope(config, keys);
  write_window_keys(config, architecture, keys);
  if (mtp_layers > 0) keys.u32("nextn_predict_layers", mtp_layers);
  if (architecture.write_gguf != nullptr) architecture.write_gguf(config, keys);
  std::vector<GgufEntry> entries{{"general.architecture", name}};
  for (GgufEntry& entry : keys.take()) entries.push_back(std::move(entry));
  return entries;
}

std::vector<GgufTable> gguf_tables(const ModelConfig& config) {
  std::vector<GgufTable> tables;
  for (auto& [name, numbers] : gguf_rope_tables(config)) {
    tables.push_back({std::move(name), {numbers.begin(), numbers.end()}});
  }
  return tables;
}

void check_gguf_config(const ModelConfig& config, const std::vector<GgufEntry>& entries,
                       const std::vector<GgufTensorSpec>& tensors, const std::vector<GgufTable>& tables) {
  const std::string header = gguf_header(entries, {});
  GgufFile file = parse_gguf(std::as_bytes(std::span(header)), "the GGUF to be written");
  for (const GgufTensorSpec& tensor : tensors) file.tensors.push_back({tensor.name, tensor.dtype, tensor.shape, {}});
  for (const GgufTable& table : tables) {
    const auto found = std::find_if(file.tensors.begin(), file.tensors.end(),
                                    [&](const TensorView& view) { return view.name == table.name; });
    TensorView& view = found == file.tensors.end() ? file.tensors.emplace_back() : *found;
    view = {
        table.name, DType::f32, {static_cast<int64_t>(table.numbers.size())}, std::as_bytes(std::span(table.numbers))};
  }
  ModelConfig read;
  try {
    read = gguf_config(file);
  } catch (const Error& error) {
    throw Error(ErrorCode::unsupported, kOperation, error.given(), error.supported());
  }
  if (!read.unsupported.empty()) {
    throw Error(ErrorCode::unsupported, kOperation, read.unsupported.front().given, read.unsupported.front().supported);
  }
  Comparison(config, read).run();
}

}  // namespace mxq
