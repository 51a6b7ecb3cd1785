// Mistral: Llama with a window of tokens in every layer, and without biases.
#include "model/arch/architecture.h"

namespace mxq {

const Architecture& mistral_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "mistral",
      .gguf_name = "mistral",
      .gguf_written = "llama",
      .class_name = "Mistral",
      .gguf_permutes_rows = true,
      .window = WindowRule::all_layers,
      .default_window = 4096,
      .default_max_positions = 131072,
      .default_kv_heads = 8,
      .own_fields = {{"sliding_window", read},
                     // transformers 4.57's Mistral reads none of these.
                     {"attention_bias", ignored},
                     {"mlp_bias", ignored},
                     {"use_sliding_window", ignored},
                     {"max_window_layers", ignored},
                     {"layer_types", only, {"null"}}},
  };
  return architecture;
}

}  // namespace mxq
