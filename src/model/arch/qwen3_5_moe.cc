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
  write_shared_experts(config, json);
}

void read_keys(const GgufFields& fields, ModelConfig& config) {
  read_gguf_linear_attention(fields, config);
  read_gguf_shared_experts(fields, /*normalised=*/true, config);
}

void write_keys(const ModelConfig& config, GgufKeys& keys) {
  write_gguf_qwen3_5(config, keys);
  write_gguf_experts(config, keys);
}

}  // namespace

const Architecture& qwen3_5_moe_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture = [] {
    Architecture moe = linear_attention_family();
    moe.name = "qwen3_5_moe_text";
    moe.gguf_name = "qwen35moe";
    moe.also = {"qwen3_5_moe"};
    moe.class_name = "Qwen3_5Moe";
    moe.mixture_tensors = without_feed_forward(gated_attention_tensors()) + qwen_mixture_tensors(/*shared=*/true);
    moe.stacks = joined_stacks(/*restored=*/true);
    moe.gguf_tiles_value_heads = true;
    moe.default_kv_heads = 2;
    moe.dense_networks = false;
    moe.read_config = read_fields;
    moe.write_config = write_fields;
    moe.own_fields = qwen3_5_fields() + training_fields() +
                     std::vector<ConfigField>{{kQwenExperts, read},
                                              {"num_experts_per_tok", read},
                                              {"moe_intermediate_size", read},
                                              {"shared_expert_intermediate_size", read},
                                              // transformers 5.3 reads none of these.
                                              {"intermediate_size", ignored},
                                              {"norm_topk_prob", ignored},
                                              {"decoder_sparse_step", ignored},
                                              {"mlp_only_layers", ignored}};
    moe.read_gguf = read_keys;
    moe.write_gguf = write_keys;
    moe.own_gguf_fields = gguf_mixture_fields() + gguf_qwen3_5_fields();
    moe.linear_mixture_tensors = with_linear_attention(moe.mixture_tensors, qwen3_5_linear_tensors());
    return moe;
  }();
  return architecture;
}

}  // namespace mxq
