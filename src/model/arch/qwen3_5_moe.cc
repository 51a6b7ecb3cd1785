// Qwen3.5 with experts, of text: in every layer, in stacks, with a network beside them that sees every token.
#include "model/arch/mixture_fields.h"
#include "model/arch/qwen3_5_fields.h"

namespace mxq {

namespace {

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  read_qwen3_5(fields, config);
  read_shared_experts(
      fields, kQwenExperts,
      {.experts = 256, .per_token = 8, .intermediate_size = 512, .shared_intermediate_size = 512, .normalised = true},
      config);
  if (config.mixture.experts == 0) config.unsupported.push_back({"'num_experts' is 0", "1 or more"});
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_qwen3_5(config, json);
  write_shared_experts(config, kQwenExperts, json);
}

void read_keys(const GgufFields& fields, ModelConfig& config) {
  read_gguf_linear_attention(fields, config);
  read_gguf_shared_experts(fields, /*normalised=*/true, config);
}

}  // namespace

const Architecture& qwen3_5_moe_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture = [] {
    Architecture moe{
        .name = "qwen3_5_moe_text",
        .gguf_name = "qwen35moe",
        .also = {"qwen3_5_moe"},
        .class_name = "Qwen3_5Moe",
        .mixture_tensors = without_feed_forward(gated_attention_tensors()) + qwen_mixture_tensors(/*shared=*/true),
        .stacks = joined_stacks(/*restored=*/true),
        .gguf_tiles_value_heads = true,
        .norm = Norm::rms_plus_one,
        .gated_queries = true,
        .attention_bias = Bias::by_config,
        .output_bias = Bias::by_config,
        .default_max_positions = 32768,
        .default_kv_heads = 2,
        .default_head_dim = 256,
        .default_rotary_part = 0.25,
        .dense_networks = false,
        .read_config = read_fields,
        .write_config = write_fields,
        .own_fields = qwen3_5_fields() + training_fields() +
                      std::vector<ConfigField>{{kQwenExperts, read},
                                               {"num_experts_per_tok", read},
                                               {"moe_intermediate_size", read},
                                               {"shared_expert_intermediate_size", read},
                                               // transformers 5.3 reads none of these.
                                               {"intermediate_size", ignored},
                                               {"norm_topk_prob", ignored},
                                               {"decoder_sparse_step", ignored},
                                               {"mlp_only_layers", ignored}},
        .read_gguf = read_keys,
        .own_gguf_fields = gguf_mixture_fields() + gguf_qwen3_5_fields(),
    };
    moe.linear_mixture_tensors = with_linear_attention(moe.mixture_tensors, qwen3_5_linear_tensors());
    return moe;
  }();
  return architecture;
}

}  // namespace mxq
