// Qwen3-MoE: Qwen3 with experts.
#include <fmt/format.h>

#include "model/arch/mixture_fields.h"
#include "model/config_checks.h"

namespace mxq {

namespace {

constexpr const char* kNewer = "num_local_experts";

void read_fields(const ConfigFields& fields, ModelConfig& config) {
  // transformers 5 writes num_local_experts, and reads either.
  const auto older = fields.find_int(kQwenExperts, 0, kMaxExperts), newer = fields.find_int(kNewer, 0, kMaxExperts);
  if (older && newer && *older != *newer) {
    config.unsupported.push_back(
        {fmt::format("'{}' is {} and '{}' is {}", kQwenExperts, *older, kNewer, *newer), "the same in both"});
  }
  read_qwen_mixture(fields, newer && !older ? kNewer : kQwenExperts,
                    {.experts = 128, .per_token = 8, .intermediate_size = 768, .normalised = false}, config);
}

void read_keys(const GgufFields& fields, ModelConfig& config) {
  read_gguf_experts(fields, /*normalised=*/true, std::nullopt, config);
}

}  // namespace

const Architecture& qwen3_moe_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "qwen3_moe",
      .gguf_name = "qwen3moe",
      .class_name = "Qwen3Moe",
      .tensors = llama_tensors() + head_norms(),
      .mixture_tensors = without_feed_forward(llama_tensors()) + head_norms() + qwen_mixture_tensors(/*shared=*/false),
      .stacks = joined_stacks(/*restored=*/false),
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .window = WindowRule::all_if_used,
      .default_window = 4096,
      .default_max_positions = 32768,
      .default_kv_heads = 4,
      .read_config = read_fields,
      .write_config = write_qwen_mixture,
      .own_fields = qwen_mixture_fields(/*shared=*/false) +
                    std::vector<ConfigField>{{kNewer, read},
                                             {"attention_bias", read},
                                             {"sliding_window", read},
                                             {"use_sliding_window", read},
                                             // transformers 4.57's Qwen3-MoE reads neither.
                                             {"max_window_layers", ignored},
                                             {"mlp_bias", ignored},
                                             {"layer_types", read}},
      .read_gguf = read_keys,
      .write_gguf = write_gguf_experts,
      .own_gguf_fields = gguf_mixture_fields(),
  };
  return architecture;
}

}  // namespace mxq
