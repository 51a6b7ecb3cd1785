// Llama 1 to 3, SmolLM, and what else says model_type "llama".
#include "model/arch/architecture.h"

namespace mxq {

const Architecture& llama_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "llama",
      .gguf_name = "llama",
      .gguf_mixture = "mixtral",
      .class_name = "Llama",
      .gguf_permutes_rows = true,
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .mlp_bias = Bias::by_config,
      .default_max_positions = 2048,
      .own_fields = {{"attention_bias", read},
                     {"mlp_bias", read},
                     // transformers 4.57 reads none of these for a Llama.
                     {"pretraining_tp", ignored},
                     {"rope_interleaved", ignored},
                     {"is_llama_config", ignored},
                     {"sliding_window", ignored},
                     {"use_sliding_window", ignored},
                     {"max_window_layers", ignored},
                     {"layer_types", ignored}},
  };
  return architecture;
}

}  // namespace mxq
