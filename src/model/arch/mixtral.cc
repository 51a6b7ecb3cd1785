// Mixtral: Mistral whose layers have experts in the place of the feed-forward network.
#include "model/arch/mixture_fields.h"

namespace mxq {

namespace {

constexpr const char* kExperts = "num_local_experts";

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  read_experts(fields, kExperts, {.experts = 8, .per_token = 2, .intermediate_size = config.intermediate_size}, config);
  if (config.mixture.experts == 0) config.unsupported.push_back({"'num_local_experts' is 0", "1 or more"});
}

void write_fields(const ModelConfig& config, nlohmann::ordered_json& json) {
  write_experts(config, kExperts, json);
}

void read_keys(const GgufFields& fields, ModelConfig& config) {
  read_gguf_experts(fields, /*normalised=*/true, config.intermediate_size, config);
}

}  // namespace

const Architecture& mixtral_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "mixtral",
      .gguf_written = "llama",
      .class_name = "Mixtral",
      .mixture_tensors = without_feed_forward(llama_tensors()) +
                         expert_tensors("block_sparse_moe.gate", "block_sparse_moe.experts.{}.w1",
                                        "block_sparse_moe.experts.{}.w3", "block_sparse_moe.experts.{}.w2"),
      .stacks = joined_stacks(/*restored=*/false),
      .newer_module = "mlp.",
      .published_module = "block_sparse_moe.",
      .gguf_permutes_rows = true,
      .window = WindowRule::all_layers,
      .default_max_positions = 131072,
      .default_kv_heads = 8,
      .default_rope_theta = 1e6,
      .default_eps = 1e-5,
      .read_config = read_fields,
      .write_config = write_fields,
      .own_fields = training_fields() + std::vector<ConfigField>{{kExperts, read},
                                                                 {"num_experts_per_tok", read},
                                                                 {"sliding_window", read},
                                                                 // transformers 4.57's Mixtral reads none of these.
                                                                 {"attention_bias", ignored},
                                                                 {"mlp_bias", ignored},
                                                                 {"use_sliding_window", ignored},
                                                                 {"max_window_layers", ignored},
                                                                 {"layer_types", only, {"null"}}},
      .read_gguf = read_keys,
      .write_gguf = write_gguf_experts,
      .own_gguf_fields = gguf_mixture_fields(),
  };
  return architecture;
}

}  // namespace mxq
