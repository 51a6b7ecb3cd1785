#include "model/meta_llama.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "format/python_json.h"
#include "model/config_checks.h"
#include "model/config_fields.h"
#include "model/gguf_placement.h"
#include "model/matrix_names.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

using Json = nlohmann::json;

constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kOfModel{{
    {"tok_embeddings.weight", "model.embed_tokens.weight"},
    {"norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
}};
constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kOfLayer{{
    {"attention.wq.weight", "self_attn.q_proj.weight"},
    {"attention.wk.weight", "self_attn.k_proj.weight"},
    {"attention.wv.weight", "self_attn.v_proj.weight"},
    {"attention.wo.weight", "self_attn.o_proj.weight"},
    {"feed_forward.w1.weight", "mlp.gate_proj.weight"},
    {"feed_forward.w2.weight", "mlp.down_proj.weight"},
    {"feed_forward.w3.weight", "mlp.up_proj.weight"},
    {"attention_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
}};

/// Fields that are read, or that say nothing about the weights.
constexpr std::array<std::string_view, 14> kKnown{"dim",
                                                  "n_layers",
                                                  "n_heads",
                                                  "n_kv_heads",
                                                  "norm_eps",
                                                  "rope_theta",
                                                  "vocab_size",
                                                  "multiple_of",
                                                  "ffn_dim_multiplier",
                                                  "use_scaled_rope",
                                                  "max_seq_len",
                                                  "max_batch_size",
                                                  "rope_scaling_factor",
                                                  "head_dim"};
/// Fields of models that are more than a Llama.
constexpr std::array<std::string_view, 6> kOthers{"quantization_args", "lora_args",   "moe",
                                                  "moe_args",          "vision_args", "vision_chunk_size"};

std::string renamed(std::string_view name) {
  for (const auto& [meta, hf] : kOfModel) {
    if (name == meta) return std::string(hf);
  }
  constexpr std::string_view layers = "layers.";
  const size_t dot = name.find('.', layers.size());
  if (!name.starts_with(layers) || dot == std::string_view::npos ||
      !layer_number(name.substr(layers.size(), dot - layers.size()))) {
    return {};
  }
  for (const auto& [meta, hf] : kOfLayer) {
    if (name.substr(dot + 1) == meta) return fmt::format("model.{}.{}", name.substr(0, dot), hf);
  }
  return {};
}

/// A table of the rotary embedding, which the configuration gives too.
bool is_table(std::string_view name) {
  return name == "rope.freqs" || name.ends_with(".rope.freqs");
}

class MetaLlama {
 public:
  MetaLlama(StoredModel files, std::string_view params, const std::string& source)
      : source_(source),
        json_(parse_params(params, source)),
        params_(json_, source),
        files_(std::move(files)),
        weights_(files_.store.files().front()->path().string()) {}

  TorchModel make() {
    check_fields();
    rename();
    const Json config = this->config();
    TorchModel model;
    model.config_json = config.dump(2) + "\n";
    model.config = parse_hf_config(*model.config_json, source_);
    for (const auto& [name, value] : json_.items()) {
      if (std::find(kKnown.begin(), kKnown.end(), name) == kKnown.end())
        model.config->unknown_fields.push_back("params." + name);
    }
    set_orders(*model.config, model);
    model.files = std::move(renamed_);
    return model;
  }

 private:
  static Json parse_params(std::string_view params, const std::string& source) {
    Json json = parse_python_json(params, "read " + source);
    if (!json.is_object()) refuse_config(source, "the JSON is " + shown(json), "an object");
    return json;
  }

  [[noreturn]] void fail(const std::string& given, const std::string& allowed) const {
    throw Error(ErrorCode::invalid_file, "read " + weights_, given, allowed);
  }

  void check_fields() const {
    for (const std::string_view name : kOthers) {
      const Json* value = params_.find(std::string(name));
      if (value == nullptr || *value == 0 || *value == false || value->empty()) continue;
      throw Error(ErrorCode::unsupported, "read " + source_, fmt::format("'{}' is {}", name, shown(*value)),
                  "a Llama of text without it, or the model in Hugging Face's layout");
    }
  }

  void rename() {
    StoredTensors tensors;
    const TensorView* embedding = files_.store.find("tok_embeddings.weight");
    for (const TensorView& view : files_.store.tensors()) {
      if (is_table(view.name)) continue;
      // The output matrix of a tied model is the embedding itself.
      if (view.name == "output.weight" && embedding != nullptr && view.bytes.data() == embedding->bytes.data() &&
          view.shape == embedding->shape) {
        continue;
      }
      TensorView copy = view;
      copy.name = renamed(view.name);
      if (copy.name.empty()) {
        throw Error(ErrorCode::unsupported, "read " + weights_, fmt::format("tensor {}", in_quotes(view.name)),
                    "those of Meta's Llama, or the model in Hugging Face's layout");
      }
      const auto strides = files_.strides.find(view.name);
      if (strides != files_.strides.end()) tensors.strides.emplace(copy.name, strides->second);
      tensors.tensors.push_back(std::move(copy));
    }
    // As files that Hugging Face's converter writes have them.
    for (auto begin = tensors.tensors.begin(), end = begin; begin != tensors.tensors.end(); begin = end) {
      end = std::find_if(begin, tensors.tensors.end(),
                         [&](const TensorView& view) { return view.dtype != begin->dtype; });
      std::sort(begin, end, [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
    }
    tensors.notes = std::move(files_.notes);
    renamed_.add(files_.store.files().front(), std::move(tensors));
  }

  const TensorView& matrix(const std::string& name) const {
    const TensorView* view = renamed_.store.find(name);
    if (view == nullptr) fail(fmt::format("no tensor stands for '{}'", name), "all of a Llama");
    if (view->shape.size() != 2 || view->shape[0] < 1 || view->shape[1] < 1 || view->shape[0] > kMaxExtent ||
        view->shape[1] > kMaxExtent) {
      fail(fmt::format("'{}' has shape [{}]", name, fmt::join(view->shape, ", ")), "a matrix");
    }
    return *view;
  }

  int64_t agreed(const char* field, int64_t by_tensors) const {
    const auto given = params_.find_int(field, 1, kMaxExtent);
    if (given && *given != by_tensors) {
      refuse_config(source_, fmt::format("'{}' is {}", field, *given),
                    fmt::format("{}, which the tensors say", by_tensors));
    }
    return by_tensors;
  }

  int64_t layers() const {
    std::set<int64_t> layers;
    for (const TensorView& view : renamed_.store.tensors()) {
      constexpr std::string_view before = "model.layers.";
      if (!view.name.starts_with(before)) continue;
      const std::string_view rest = std::string_view(view.name).substr(before.size());
      layers.insert(*layer_number(rest.substr(0, rest.find('.'))));
    }
    if (layers.empty() || *layers.rbegin() != std::ssize(layers) - 1)
      fail(fmt::format("{} layers", layers.size()), "layers from 0 on");
    return std::ssize(layers);
  }

  Json config() const {
    const TensorView& embedding = matrix("model.embed_tokens.weight");
    const std::string layer = "model.layers.0.";
    const TensorView &q = matrix(layer + "self_attn.q_proj.weight"), &k = matrix(layer + "self_attn.k_proj.weight");
    const int64_t heads = params_.get_int("n_heads", 1, kMaxExtent), vocab = embedding.shape[0];
    const int64_t head = q.shape[0] / heads;
    if (head * heads != q.shape[0] || head % 2 != 0 || k.shape[0] % head != 0) {
      refuse_config(
          source_, fmt::format("'n_heads' is {}", heads),
          fmt::format("a number that divides the {} rows of q and {} of k into even heads", q.shape[0], k.shape[0]));
    }
    const auto said_vocab = params_.find("vocab_size");
    if (said_vocab != nullptr && *said_vocab != -1) agreed("vocab_size", vocab);  // -1: the tokenizer's
    const bool scaled = params_.get_bool("use_scaled_rope", false),
               tied = renamed_.store.find("lm_head.weight") == nullptr;
    const bool third = vocab >= 128'000;  // Llama 3, and its tokenizer
    const double eps = params_.find_positive("norm_eps").value_or(1e-5);
    Json json{{"architectures", {"LlamaForCausalLM"}},
              {"model_type", "llama"},
              {"torch_dtype", q.dtype == DType::f32   ? "float32"
                              : q.dtype == DType::f16 ? "float16"
                                                      : "bfloat16"},
              {"hidden_size", agreed("dim", embedding.shape[1])},
              {"intermediate_size", matrix(layer + "mlp.gate_proj.weight").shape[0]},
              {"num_hidden_layers", agreed("n_layers", layers())},
              {"num_attention_heads", heads},
              {"num_key_value_heads", agreed("n_kv_heads", k.shape[0] / head)},
              {"head_dim", head},
              {"hidden_act", "silu"},
              {"vocab_size", vocab},
              {"rms_norm_eps", eps},
              {"rope_theta", params_.find_positive("rope_theta").value_or(10000.0)},
              {"tie_word_embeddings", tied},
              {"attention_bias", false},
              {"mlp_bias", false},
              {"bos_token_id", third ? 128'000 : 1},
              {"eos_token_id", third ? 128'001 : 2}};
    const int64_t positions = scaled ? 131'072 : third ? 8192 : eps < 5e-6 ? 2048 : 4096;
    json["max_position_embeddings"] = params_.find_int("max_seq_len", 1, kMaxContext).value_or(positions);
    if (scaled) {
      // Llama 3.1 has 8. Llama 3.2, whose models of text are tied, has 32.
      json["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", params_.find_positive("rope_scaling_factor").value_or(tied ? 32.0 : 8.0)},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 8192}};
    }
    return json;
  }

  void set_orders(const ModelConfig& config, TorchModel& model) const {
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      for (const auto& [part, heads] :
           {std::pair("q", config.num_attention_heads), {"k", config.num_key_value_heads}}) {
        const std::string name = fmt::format("model.layers.{}.self_attn.{}_proj.weight", layer, part);
        const int64_t rows = matrix(name).shape[0];
        if (rows != heads * config.head_dim) {
          fail(fmt::format("'{}' has {} rows", name, rows), fmt::format("{} heads of {}", heads, config.head_dim));
        }
        model.row_orders.emplace(name, paired_rows(rows, config.head_dim));
      }
    }
  }

  const std::string& source_;
  Json json_;
  ConfigFields params_;
  StoredModel files_, renamed_;
  std::string weights_;
};

}  // namespace

TorchModel meta_llama(StoredModel files, std::string_view params, const std::string& source) {
  return MetaLlama(std::move(files), params, source).make();
}

}  // namespace mxq
