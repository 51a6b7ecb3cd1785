// Qwen3-Next: linear attention by the gated delta rule in three layers of four, gated attention in the others, and
// Qwen2-MoE's experts.
#include "model/arch/linear_attention_fields.h"
#include "model/arch/mixture_fields.h"

namespace mxq {

namespace {

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  read_linear_attention(fields, config);
  read_qwen_mixture(fields, kQwenExperts,
                    {.experts = 512, .per_token = 10, .intermediate_size = 512, .shared_intermediate_size = 512},
                    config);
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_linear_attention(config, json);
  write_qwen_mixture(config, json);
}

void read_keys(const GgufFields& fields, ModelConfig& config) {
  read_gguf_linear_attention(fields, config);
  read_gguf_shared_experts(fields, /*normalised=*/true, config);
}

void write_keys(const ModelConfig& config, GgufKeys& keys) {
  write_gguf_linear_attention(config, keys);
  write_gguf_experts(config, keys);
}

std::vector<LayerTensor> linear_tensors() {
  using enum Extent;
  return delta_rule_tensors(
      {{.part = LayerPart::linear_qkvz,
        .hf = "linear_attn.in_proj_qkvz",
        .gguf = "attn_qkv",
        .rows = linear_qkvz,
        .cols = hidden,
        .input = LayerInput::attention,
        .gguf_rest = "attn_gate",
        .gguf_whole = "ssm_in"},
       {LayerPart::linear_ba, "linear_attn.in_proj_ba", "ssm_ba", linear_rates, hidden, LayerInput::attention}});
}

}  // namespace

const Architecture& qwen3_next_architecture() {
  static const Architecture architecture = [] {
    Architecture next = linear_attention_family();
    next.name = "qwen3_next";
    next.gguf_name = "qwen3next";
    next.class_name = "Qwen3Next";
    next.tensors = gated_attention_tensors();
    next.mixture_tensors = without_feed_forward(gated_attention_tensors()) + qwen_mixture_tensors(/*shared=*/true);
    next.stacks = joined_stacks(/*restored=*/false);
    next.default_kv_heads = 2;
    next.read_config = read_fields;
    next.write_config = write_fields;
    next.own_fields = qwen_mixture_fields(/*shared=*/true) + linear_attention_fields();
    next.read_gguf = read_keys;
    next.write_gguf = write_keys;
    next.own_gguf_fields = gguf_mixture_fields() + gguf_linear_attention_fields();
    next.linear_tensors = with_linear_attention(next.tensors, linear_tensors());
    next.linear_mixture_tensors = with_linear_attention(next.mixture_tensors, linear_tensors());
    return next;
  }();
  return architecture;
}

}  // namespace mxq
