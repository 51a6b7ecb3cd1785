#include "model/arch/architecture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace mxq {

namespace {

using enum ConfigField::Use;

// Fields that every architecture has. Sources of what does not count: transformers 4.57's PretrainedConfig (text that
// is generated, training, other heads) and the modeling files, which do not read them.
const std::vector<ConfigField>& common_fields() {
  static const std::vector<ConfigField> fields = [] {
    std::vector<ConfigField> all{
        {"partial_rotary_factor", only, {"1", "1.0", "null"}},
        {"is_causal", only, {"true", "null"}},
        {"use_bidirectional_attention", only, {"false", "null"}},
        {"pruned_heads", only, {"{}", "null"}},
    };
    for (const char* name : {"model_type",          "text_config",
                             "hidden_size",         "intermediate_size",
                             "num_hidden_layers",   "num_attention_heads",
                             "num_key_value_heads", "head_dim",
                             "vocab_size",          "max_position_embeddings",
                             "rms_norm_eps",        "hidden_act",
                             "rope_theta",          "rope_scaling",
                             "rope_parameters",     "original_max_position_embeddings",
                             "tie_word_embeddings", "bos_token_id",
                             "eos_token_id",        "pad_token_id",
                             "quantization_config", "quantization"}) {
      all.push_back({name, read});
    }
    for (const char* name : {"_attn_implementation",
                             "_attn_implementation_autoset",
                             "_commit_hash",
                             "_flash_attn_2_enabled",
                             "_name_or_path",
                             "add_cross_attention",
                             "architectures",
                             "attention_dropout",
                             "attn_implementation",
                             "auto_map",
                             "bad_words_ids",
                             "begin_suppress_tokens",
                             "chunk_size_feed_forward",
                             "cross_attention_hidden_size",
                             "decoder_start_token_id",
                             "diversity_penalty",
                             "do_sample",
                             "dtype",
                             "early_stopping",
                             "encoder_no_repeat_ngram_size",
                             "exponential_decay_length_penalty",
                             "finetuning_task",
                             "forced_bos_token_id",
                             "forced_eos_token_id",
                             "id2label",
                             "initializer_range",
                             "is_decoder",
                             "is_encoder_decoder",
                             "label2id",
                             "length_penalty",
                             "max_length",
                             "min_length",
                             "no_repeat_ngram_size",
                             "num_beam_groups",
                             "num_beams",
                             "num_return_sequences",
                             "output_attentions",
                             "output_hidden_states",
                             "output_scores",
                             "prefix",
                             "problem_type",
                             "remove_invalid_values",
                             "repetition_penalty",
                             "return_dict",
                             "return_dict_in_generate",
                             "sep_token_id",
                             "suppress_tokens",
                             "task_specific_params",
                             "temperature",
                             "tf_legacy_loss",
                             "tie_encoder_decoder",
                             "tokenizer_class",
                             "top_k",
                             "top_p",
                             "torch_dtype",
                             "torchscript",
                             "transformers_version",
                             "typical_p",
                             "unsloth_fixed",
                             "use_bfloat16",
                             "use_cache"}) {
      all.push_back({name, ignored});
    }
    return all;
  }();
  return fields;
}

// Sources: the keys of llama.cpp's src/llama-arch.cpp and what its src/models/ do with them, 2026.
const std::vector<ConfigField>& gguf_fields() {
  static const std::vector<ConfigField> fields = [] {
    std::vector<ConfigField> all{
        // llama.cpp multiplies by these where an architecture has them.
        {"attention.scale", only, {"0"}},
        {"attention.causal", only, {"true"}},
        {"attention.clamp_kqv", only, {"0"}},
        {"attention.max_alibi_bias", only, {"0"}},
        {"attn_logit_softcapping", only, {"0"}},
        {"final_logit_softcapping", only, {"0"}},
        {"logit_scale", only, {"0", "1"}},
        {"residual_scale", only, {"0", "1"}},
        {"embedding_scale", only, {"0", "1"}},
        {"use_parallel_residual", only, {"false"}},
        {"attention.shared_kv_layers", only, {"0"}},
        {"attention.temperature_length", only, {"0"}},
        {"attention.temperature_scale", only, {"0", "1"}},
        {"attention.output_scale", only, {"0", "1"}},
        {"attention.sliding_window_pattern", only, {}},
        {"attention.key_length_swa", only, {}},
        {"attention.value_length_swa", only, {}},
        {"rope.dimension_count_swa", only, {}},
        {"rope.dimension_sections", only, {}},
        {"rope.freq_base_swa", only, {}},
        {"rope.scale_linear", only, {"0", "1"}},
        {"rope.scaling.alpha", only, {"0"}},
        {"rope.scaling.yarn_ext_factor", only, {"1", "-1"}},
        {"rope.scaling.yarn_log_multiplier", only, {"0"}},
        {"hidden_activation", only, {}},
        {"nextn_predict_layers", only, {"0"}},
        {"n_deepstack_layers", only, {"0"}},
        {"deepstack_mapping", only, {}},
    };
    for (const char* name :
         {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
          "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.sliding_window",
          "attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.dimension_count", "rope.scaling.type",
          "rope.scaling.factor", "rope.scaling.original_context_length", "vocab_size", "expert_count"}) {
      all.push_back({name, read});
    }
    for (const char* name : {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_beta_fast",
                             "rope.scaling.yarn_beta_slow"}) {
      all.push_back({name, read});
    }
    // What llama.cpp's loader keeps for the record, or reads for mixtures only.
    for (const char* name : {"rope.scaling.finetuned", "tensor_data_layout", "expert_used_count",
                             "attention.layer_norm_epsilon", "pooling_type"}) {
      all.push_back({name, ignored});
    }
    return all;
  }();
  return fields;
}

const ConfigField* find_in(const std::vector<ConfigField>& fields, std::string_view name) {
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const auto& field) { return field.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

/// Those that are not empty.
std::string all_names(std::string_view Architecture::*name) {
  std::vector<std::string_view> names;
  for (const Architecture* architecture : architectures()) {
    if (!(architecture->*name).empty()) names.push_back(architecture->*name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

const ConfigField* Architecture::find_field(std::string_view field) const {
  const ConfigField* own = find_in(own_fields, field);
  return own != nullptr ? own : find_in(common_fields(), field);
}

const ConfigField* Architecture::find_gguf_field(std::string_view key) const {
  const ConfigField* own = find_in(own_gguf_fields, key);
  return own != nullptr ? own : find_in(gguf_fields(), key);
}

std::vector<LayerTensor> llama_tensors() {
  using enum Extent;
  return {
      {LayerPart::input_norm, "input_layernorm", "attn_norm", hidden, none, {}},
      {LayerPart::q, "self_attn.q_proj", "attn_q", queries, hidden, LayerInput::attention},
      {LayerPart::k, "self_attn.k_proj", "attn_k", keys, hidden, LayerInput::attention},
      {LayerPart::v, "self_attn.v_proj", "attn_v", keys, hidden, LayerInput::attention},
      {LayerPart::o, "self_attn.o_proj", "attn_output", hidden, queries, LayerInput::heads},
      {LayerPart::feed_forward_norm, "post_attention_layernorm", "ffn_norm", hidden, none, {}},
      {LayerPart::gate, "mlp.gate_proj", "ffn_gate", intermediate, hidden, LayerInput::feed_forward},
      {LayerPart::up, "mlp.up_proj", "ffn_up", intermediate, hidden, LayerInput::feed_forward},
      {LayerPart::down, "mlp.down_proj", "ffn_down", hidden, intermediate, LayerInput::gated},
  };
}

std::vector<LayerTensor> with_gate_up() {
  const auto gate_alone = replaced(llama_tensors(), LayerPart::up, {});
  return replaced(
      gate_alone, LayerPart::gate,
      {{LayerPart::gate_up, "mlp.gate_up_proj", "ffn_up", Extent::gate_up, Extent::hidden, LayerInput::feed_forward}});
}

std::vector<LayerTensor> head_norms() {
  return {{LayerPart::q_norm, "self_attn.q_norm", "attn_q_norm", Extent::head_dim, Extent::none, {}},
          {LayerPart::k_norm, "self_attn.k_norm", "attn_k_norm", Extent::head_dim, Extent::none, {}}};
}

std::vector<LayerTensor> expert_tensors(std::string_view router, std::string_view gate, std::string_view up,
                                        std::string_view down) {
  using enum Extent;
  return {{LayerPart::router, router, "ffn_gate_inp", experts, hidden, LayerInput::feed_forward},
          {LayerPart::expert_gate, gate, "ffn_gate_exps", expert_intermediate, hidden, LayerInput::routed},
          {LayerPart::expert_up, up, "ffn_up_exps", expert_intermediate, hidden, LayerInput::routed},
          {LayerPart::expert_down, down, "ffn_down_exps", hidden, expert_intermediate, LayerInput::routed_gated}};
}

std::vector<LayerTensor> with_linear_attention(const std::vector<LayerTensor>& tensors,
                                               const std::vector<LayerTensor>& linear) {
  using enum LayerPart;
  auto result = replaced(tensors, q, linear);
  for (const LayerPart part : {k, v, qkv, o, q_norm, k_norm}) result = replaced(result, part, {});
  return result;
}

bool is_common_norm(LayerPart part) {
  using enum LayerPart;
  switch (part) {
    case input_norm:
    case attention_norm:
    case feed_forward_norm:
    case output_norm:
    case q_norm:
    case k_norm:
      return true;
    default:
      return false;
  }
}

std::vector<LayerTensor> without_feed_forward(const std::vector<LayerTensor>& tensors) {
  auto left = tensors;
  for (const LayerPart part : {LayerPart::gate, LayerPart::up, LayerPart::gate_up, LayerPart::down}) {
    left = replaced(left, part, {});
  }
  return left;
}

std::vector<LayerTensor> operator+(std::vector<LayerTensor> tensors, const std::vector<LayerTensor>& more) {
  tensors.insert(tensors.end(), more.begin(), more.end());
  return tensors;
}

std::vector<ConfigField> operator+(std::vector<ConfigField> fields, const std::vector<ConfigField>& more) {
  fields.insert(fields.end(), more.begin(), more.end());
  return fields;
}

std::vector<LayerTensor> replaced(const std::vector<LayerTensor>& tensors, LayerPart part,
                                  const std::vector<LayerTensor>& by) {
  std::vector<LayerTensor> result;
  for (const LayerTensor& tensor : tensors) {
    if (tensor.part == part) {
      result.insert(result.end(), by.begin(), by.end());
    } else {
      result.push_back(tensor);
    }
  }
  return result;
}

std::span<const Architecture* const> architectures() {
  static const std::array all{
      &llama_architecture(),   &mistral_architecture(),    &ministral_architecture(), &qwen2_architecture(),
      &qwen3_architecture(),   &gemma2_architecture(),     &gemma3_architecture(),    &phi3_architecture(),
      &smollm3_architecture(), &olmo2_architecture(),      &granite_architecture(),   &glm4_architecture(),
      &cohere2_architecture(), &mixtral_architecture(),    &qwen2_moe_architecture(), &qwen3_moe_architecture(),
      &gpt_oss_architecture(), &qwen3_next_architecture(), &qwen3_5_architecture(),   &qwen3_5_moe_architecture()};
  return all;
}

const Architecture* find_architecture(std::string_view model_type) {
  for (const Architecture* architecture : architectures()) {
    const auto& also = architecture->also;
    if (architecture->name == model_type || std::find(also.begin(), also.end(), model_type) != also.end()) {
      return architecture;
    }
  }
  return nullptr;
}

const Architecture* find_gguf_architecture(std::string_view name) {
  const auto all = architectures();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Architecture* architecture) {
    return !name.empty() && architecture->gguf_name == name;
  });
  return found == all.end() ? nullptr : *found;
}

std::string architecture_names() {
  return all_names(&Architecture::name);
}

std::string gguf_architecture_names() {
  return all_names(&Architecture::gguf_name);
}

std::string written_gguf_architecture_names() {
  std::vector<std::string_view> names;
  for (const Architecture* architecture : architectures()) {
    if (!architecture->written_gguf_name().empty()) names.push_back(architecture->name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

std::span<const FusedModules> fused_modules() {
  static const std::vector<FusedModules> all{
      {"qkv", {"q_proj", "k_proj", "v_proj"}}, {"gate_up", {"gate_proj", "up_proj"}}, {kExpertStacks, {}, "experts"}};
  return all;
}

}  // namespace mxq
