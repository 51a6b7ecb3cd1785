// Qwen3: norms of the heads of q and k, biases by the configuration, a window by layer.
#include "model/arch/architecture.h"

namespace mxq {

const Architecture& qwen3_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "qwen3",
      .gguf_name = "qwen3",
      .class_name = "Qwen3",
      .tensors = llama_tensors() + head_norms(),
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .window = WindowRule::layer_types,
      .default_window = 4096,
      .default_max_positions = 32768,
      .default_kv_heads = 32,
      .default_head_dim = 128,
      .own_fields = {{"attention_bias", read},
                     {"sliding_window", read},
                     {"use_sliding_window", read},
                     {"max_window_layers", read},
                     {"layer_types", read},
                     {"mlp_bias", ignored}},
  };
  return architecture;
}

}  // namespace mxq
