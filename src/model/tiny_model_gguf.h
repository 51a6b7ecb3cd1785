// The tiny models as llama.cpp's convert_hf_to_gguf.py writes them: its keys, names, order of rows and norms.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gguf_builder.h"
#include "model/arch/architecture.h"
#include "model/gguf_names.h"
#include "model/tiny_model.h"

namespace mxq {

class TinyConversion {
 public:
  std::set<std::string> without;  // tensors, and keys without the prefix, to leave out

  explicit TinyConversion(TinyModel model) : model_(std::move(model)), config_(model_.config) {
    type_ = config_["model_type"];
    if (type_ == "mistral" || type_ == "mixtral") type_ = "llama";
    if (type_ == "qwen2_moe") type_ = "qwen2moe";
    if (type_ == "qwen3_moe") type_ = "qwen3moe";
    if (type_ == "gemma3_text") type_ = "gemma3";
    if (type_ == "gpt_oss") type_ = "gpt-oss";
    if (type_ == "qwen3_next") type_ = "qwen3next";
    if (type_ == "qwen3_5_text") type_ = "qwen35";
    if (type_ == "qwen3_5_moe_text") type_ = "qwen35moe";
    heads_ = config_["num_attention_heads"];
    head_ = config_.value("head_dim", Json()).is_null() ? config_["hidden_size"].get<int64_t>() / heads_
                                                        : config_["head_dim"].get<int64_t>();
  }

  const std::string& type() const { return type_; }

  GgufBuilder builder() const {
    GgufBuilder b;
    b.string("general.architecture", type_);
    keys(b);
    rope(b);
    for (const auto& [token, field] :
         {std::pair("bos", "bos_token_id"), {"eos", "eos_token_id"}, {"padding", "pad_token_id"}}) {
      const std::string key = std::string("tokenizer.ggml.") + token + "_token_id";
      if (has(field) && !without.contains(key)) b.u32(key, config_[field]);
    }
    for (const auto& [name, tensor] : model_.tensors) {
      if (is({"gpt-oss", "qwen35moe"}) && name.find(".experts.") != std::string::npos) {
        add_stack(b, name, tensor);
      } else if (name.find("linear_attn.") != std::string::npos) {
        add_linear(b, name, tensor);
      } else if (name.find(".experts.") == std::string::npos) {
        add(b, name, tensor);
      } else if (name.find(".experts.0.") != std::string::npos) {
        add(b, name, all_experts(name));
      }
    }
    return b;
  }

 private:
  bool is(std::initializer_list<const char*> types) const {
    return std::find(types.begin(), types.end(), type_) != types.end();
  }
  bool has(const char* field) const { return !config_.value(field, Json()).is_null(); }

  void u32(GgufBuilder& b, const std::string& key, int64_t value) const {
    if (!without.contains(key)) b.u32(type_ + "." + key, static_cast<uint32_t>(value));
  }
  void f32(GgufBuilder& b, const std::string& key, double value) const {
    if (!without.contains(key)) b.f32(type_ + "." + key, static_cast<float>(value));
  }
  void string(GgufBuilder& b, const std::string& key, const std::string& value) const {
    if (!without.contains(key)) b.string(type_ + "." + key, value);
  }

  void keys(GgufBuilder& b) const {
    u32(b, "block_count", config_["num_hidden_layers"]);
    u32(b, "context_length", config_["max_position_embeddings"]);
    u32(b, "embedding_length", config_["hidden_size"]);
    if (!is({"qwen35moe"})) u32(b, "feed_forward_length", config_["intermediate_size"]);
    u32(b, "attention.head_count", heads_);
    u32(b, "attention.head_count_kv", config_["num_key_value_heads"]);
    if (has("head_dim") && !is({"granite", "phi3"})) {
      u32(b, "attention.key_length", head_);
      u32(b, "attention.value_length", head_);
    }
    if (is({"cohere2"})) {
      f32(b, "attention.layer_norm_epsilon", config_["layer_norm_eps"]);
    } else {
      f32(b, "attention.layer_norm_rms_epsilon", config_["rms_norm_eps"]);
    }
    if (is({"llama", "granite", "smollm3", "cohere2"})) u32(b, "vocab_size", config_["vocab_size"]);
    // Of llama the converter leaves the window out, which Mistral has.
    if (is({"llama", "gemma2", "gemma3", "cohere2", "phi3", "gpt-oss"}) && has("sliding_window")) {
      u32(b, "attention.sliding_window", config_["sliding_window"]);
    } else if (is({"phi3"})) {
      u32(b, "attention.sliding_window", 0);
    }
    if (is({"gemma2"})) f32(b, "attn_logit_softcapping", config_["attn_logit_softcapping"]);
    if (is({"gemma2", "gemma3"}) && has("final_logit_softcapping")) {
      f32(b, "final_logit_softcapping", config_["final_logit_softcapping"]);
    }
    if (is({"cohere2"})) f32(b, "logit_scale", config_["logit_scale"]);
    for (const char* field : {"num_local_experts", "num_experts"}) {
      if (has(field)) u32(b, "expert_count", config_[field]);
    }
    if (has("num_experts_per_tok")) u32(b, "expert_used_count", config_["num_experts_per_tok"]);
    if (is({"gpt-oss"})) u32(b, "expert_feed_forward_length", config_["intermediate_size"]);
    if (has("moe_intermediate_size")) u32(b, "expert_feed_forward_length", config_["moe_intermediate_size"]);
    if (has("shared_expert_intermediate_size")) {
      u32(b, "expert_shared_feed_forward_length", config_["shared_expert_intermediate_size"]);
    }
    if (is({"granite"})) {
      f32(b, "attention.scale", config_["attention_multiplier"]);
      f32(b, "embedding_scale", config_["embedding_multiplier"]);
      f32(b, "residual_scale", config_["residual_multiplier"]);
      f32(b, "logit_scale", config_["logits_scaling"]);
    }
  }

  bool has_linear_attention() const { return is({"qwen3next", "qwen35", "qwen35moe"}); }

  void linear_keys(GgufBuilder& b) const {
    u32(b, "ssm.conv_kernel", config_["linear_conv_kernel_dim"]);
    u32(b, "ssm.state_size", config_["linear_key_head_dim"]);
    u32(b, "ssm.group_count", config_["linear_num_key_heads"]);
    u32(b, "ssm.time_step_rank", config_["linear_num_value_heads"]);
    const int64_t size = config_["linear_value_head_dim"], heads = config_["linear_num_value_heads"];
    u32(b, "ssm.inner_size", size * heads);
    u32(b, "full_attention_interval", 4);
    const Json settings = config_.value("rope_parameters", config_);
    f32(b, "rope.freq_base", settings["rope_theta"]);
    u32(b, "rope.dimension_count", head_ * 100 * settings["partial_rotary_factor"].get<double>() / 100);
  }

  void rope(GgufBuilder& b) const {
    if (has_linear_attention()) return linear_keys(b);
    if (!is({"gemma2"})) f32(b, "rope.freq_base", config_["rope_theta"]);
    if (is({"llama", "granite", "smollm3", "cohere2", "glm4", "phi3"})) {
      const double part = is({"glm4", "phi3"}) ? config_["partial_rotary_factor"].get<double>() : 1;
      u32(b, "rope.dimension_count", static_cast<int64_t>(part * static_cast<double>(head_)));
    }
    if (is({"cohere2"})) string(b, "rope.scaling.type", "none");
    if (is({"phi3"})) u32(b, "rope.scaling.original_context_length", config_["original_max_position_embeddings"]);
    const Json scaling = config_.value("rope_scaling", Json());
    if (scaling.is_null()) return;
    if (is({"phi3"})) {
      const double original = config_["original_max_position_embeddings"];
      const double times = config_["max_position_embeddings"].get<double>() / original;
      f32(b, "rope.scaling.attn_factor", times > 1 ? std::sqrt(1 + std::log(times) / std::log(original)) : 1);
      for (const auto& [name, field] :
           {std::pair("rope_factors_long.weight", "long_factor"), {"rope_factors_short.weight", "short_factor"}}) {
        const Values table = scaling[field];
        if (!without.contains(name)) b.f32_tensor(name, {table.size()}, table);
      }
      return;
    }
    string(b, "rope.scaling.type", scaling["rope_type"]);
    f32(b, "rope.scaling.factor", scaling["factor"]);
    if (const Json length = scaling.value("original_max_position_embeddings", Json()); !length.is_null()) {
      u32(b, "rope.scaling.original_context_length", length);
    }
  }

  void add(GgufBuilder& b, const std::string& name, const Tensor& tensor) const {
    const std::string gguf_name =
        gguf_name_from_hf(*find_architecture(config_["model_type"].get<std::string>()), name).value();
    if (without.contains(gguf_name)) return;
    Values values = tensor.values;
    const bool rotated = name.find("q_proj") != std::string::npos || name.find("k_proj") != std::string::npos;
    if (rotated && is({"llama", "granite", "smollm3"})) values = paired_rows(tensor);
    if (name.ends_with("norm.weight") && (is({"gemma2", "gemma3"}) || has_linear_attention())) {
      for (float& value : values) value += 1;
    }
    b.f32_tensor(gguf_name, {tensor.shape.begin(), tensor.shape.end()}, values);
  }

  // Qwen3NextModel.modify_tensors() and, of Qwen3.5, _LinearAttentionVReorderBase's before it.
  void add_linear(GgufBuilder& b, const std::string& name, const Tensor& tensor) const {
    const int64_t key_heads = config_["linear_num_key_heads"], value_heads = config_["linear_num_value_heads"];
    const int64_t key = config_["linear_key_head_dim"], value = config_["linear_value_head_dim"];
    const int64_t each = value_heads / key_heads, rows = tensor.shape[0],
                  columns = static_cast<int64_t>(tensor.values.size()) / rows;
    const auto is_of = [&](const char* module) { return name.find(module) != std::string::npos; };
    const std::string blk = "blk." + name.substr(13, name.find('.', 13) - 13) + ".";
    const auto put = [&](const std::string& gguf_name, std::vector<uint64_t> shape, const Values& values) {
      if (!without.contains(blk + gguf_name)) b.f32_tensor(blk + gguf_name, std::move(shape), values);
    };
    const auto copy_row = [&](Values& out, int64_t row) {
      out.insert(out.end(), tensor.values.begin() + row * columns, tensor.values.begin() + (row + 1) * columns);
    };
    if (is_of("in_proj_qkvz")) {
      // Of each key head its query, key, values and gates: split, and each kind joined.
      Values kinds[4];
      int64_t row = 0;
      for (int64_t head = 0; head < key_heads; ++head) {
        for (const auto& [kind, size] : {std::pair(0, key), {1, key}, {2, each * value}, {3, each * value}}) {
          for (int64_t i = 0; i < size; ++i) copy_row(kinds[kind], row++);
        }
      }
      Values qkv = kinds[0];
      for (const int kind : {1, 2}) qkv.insert(qkv.end(), kinds[kind].begin(), kinds[kind].end());
      const auto wide = static_cast<uint64_t>(columns);
      put("attn_qkv.weight", {qkv.size() / wide, wide}, qkv);
      put("attn_gate.weight", {kinds[3].size() / wide, wide}, kinds[3]);
      return;
    }
    const bool tiled = !is({"qwen3next"});
    // reshape(key heads, each, size, ...).permute(1, 0, 2, ...) of the rows from `before` on.
    const auto by_turns = [&](int64_t before, int64_t size) {
      Values out;
      for (int64_t row = 0; row < before; ++row) copy_row(out, row);
      for (int64_t v = 0; v < each; ++v) {
        for (int64_t k = 0; k < key_heads; ++k) {
          for (int64_t i = 0; i < size; ++i) copy_row(out, before + (k * each + v) * size + i);
        }
      }
      return out;
    };
    Values values = tensor.values;
    if (tiled && (is_of("in_proj_qkv.") || is_of("conv1d"))) values = by_turns(2 * key_heads * key, value);
    if (tiled && is_of("in_proj_z")) values = by_turns(0, value);
    if (tiled && (is_of("in_proj_b.") || is_of("in_proj_a.") || is_of("A_log") || is_of("dt_bias"))) {
      values = by_turns(0, 1);
    }
    if (tiled && is_of("out_proj")) {
      values.clear();
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t v = 0; v < each; ++v) {
          for (int64_t k = 0; k < key_heads; ++k) {
            const auto from = tensor.values.begin() + row * columns + (k * each + v) * value;
            values.insert(values.end(), from, from + value);
          }
        }
      }
    }
    if (is_of("A_log")) {
      for (float& x : values) x = -std::exp(x);
    }
    std::vector<uint64_t> shape(tensor.shape.begin(), tensor.shape.end());
    if (is_of("conv1d")) shape.erase(shape.begin() + 1);  // squeeze()
    for (const auto& [module, gguf_name] : {std::pair("A_log", "ssm_a"),
                                            {"dt_bias", "ssm_dt.bias"},
                                            {"conv1d", "ssm_conv1d.weight"},
                                            {"linear_attn.norm", "ssm_norm.weight"},
                                            {"out_proj", "ssm_out.weight"},
                                            {"in_proj_ba", "ssm_ba.weight"},
                                            {"in_proj_qkv.", "attn_qkv.weight"},
                                            {"in_proj_z", "attn_gate.weight"},
                                            {"in_proj_b.", "ssm_beta.weight"},
                                            {"in_proj_a.", "ssm_alpha.weight"}}) {
      if (is_of(module)) put(gguf_name, shape, values);
    }
  }

  // gpt-oss's [experts, in, out], gate and up by turns, and Qwen3.5's [experts, out, in], gate above up: each by
  // itself.
  void add_stack(GgufBuilder& b, const std::string& name, const Tensor& tensor) const {
    const bool bias = name.ends_with("_bias"), pair = name.find("gate_up_proj") != std::string::npos;
    const bool upright = is({"qwen35moe"});
    const int64_t experts = tensor.shape[0], columns = bias ? 1 : tensor.shape[upright ? 2 : 1];
    const int64_t all = upright ? tensor.shape[1] : tensor.shape.back();
    const size_t layer = std::string_view("model.layers.").size();
    const std::string number = name.substr(layer, name.find('.', layer) - layer);
    const int64_t parts = pair ? 2 : 1;
    for (int64_t part = 0; part < parts; ++part) {
      Values values;
      for (int64_t e = 0; e < experts; ++e) {
        for (int64_t i = 0; i < all / parts; ++i) {
          for (int64_t k = 0; k < columns; ++k) {
            const int64_t at = upright ? (e * all + part * (all / parts) + i) * columns + k
                                       : (e * columns + k) * all + i * parts + part;
            values.push_back(tensor.values[static_cast<size_t>(at)]);
          }
        }
      }
      std::vector<uint64_t> shape{static_cast<uint64_t>(experts), static_cast<uint64_t>(all / parts)};
      if (!bias) shape.push_back(static_cast<uint64_t>(columns));
      const std::string module = !pair ? "down" : part == 0 ? "gate" : "up";
      const std::string gguf_name = "blk." + number + ".ffn_" + module + "_exps." + (bias ? "bias" : "weight");
      if (!without.contains(gguf_name)) b.f32_tensor(gguf_name, shape, values);
    }
  }

  // One behind the other, as torch.stack() has them.
  Tensor all_experts(const std::string& first) const {
    Tensor all;
    const size_t at = first.find(".experts.0.");
    int64_t count = 0;
    for (;; ++count) {
      std::string name = first;
      name.replace(at, 11, ".experts." + std::to_string(count) + ".");
      const auto found = model_.tensors.find(name);
      if (found == model_.tensors.end()) break;
      all.shape = found->second.shape;
      all.values.insert(all.values.end(), found->second.values.begin(), found->second.values.end());
    }
    all.shape.insert(all.shape.begin(), count);
    return all;
  }

  // reshape(heads, 2, head / 2, columns).swapaxes(1, 2), as the converter's permute().
  Values paired_rows(const Tensor& tensor) const {
    const int64_t rows = tensor.shape[0], columns = static_cast<int64_t>(tensor.values.size()) / rows;
    Values out;
    for (int64_t first = 0; first < rows; first += head_) {
      for (int64_t pair = 0; pair < head_ / 2; ++pair) {
        for (const int64_t row : {first + pair, first + head_ / 2 + pair}) {
          const auto begin = tensor.values.begin() + row * columns;
          out.insert(out.end(), begin, begin + columns);
        }
      }
    }
    return out;
  }

  TinyModel model_;
  Json config_;
  std::string type_;
  int64_t heads_ = 0, head_ = 0;
};

/// Of those whose configuration GGUF holds: what it does not say (the layers that rotate, those that have a window, the
/// scale of Gemma's scores) is as llama.cpp takes it for granted in models named "..._usual" only, and the table of
/// llama3's scaling is that of an original context of 8192.
inline std::vector<std::string> gguf_model_names() {
  static const std::set<std::string> others{
      "gemma2",        "gemma3",        "smollm3",        "cohere2",           "llama3",    "qwen2_window",
      "qwen2_pattern", "qwen3_pattern", "llama_dynamic",  "llama_yarn_scaled", "qwen2_moe", "qwen3_moe",
      "gpt_oss_all",   "qwen3_next",    "qwen3_next_all", "qwen3_5_moe_all"};
  auto names = model_names();
  std::erase_if(names, [&](const std::string& name) {
    const std::string type = reference()["models"][name]["config"]["model_type"];
    return find_architecture(type)->gguf_name.empty() || others.contains(name) || name.starts_with("llama_longrope");
  });
  return names;
}

}  // namespace mxq
