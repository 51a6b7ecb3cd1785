// Qwen2 and Qwen2.5, and the text decoders of their vision models: biases of q, k and v always, a window by layer.
#include "model/arch/architecture.h"

namespace mxq {

const Architecture& qwen2_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "qwen2",
      .gguf_name = "qwen2",
      .also = {"qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"},
      .class_name = "Qwen2",
      .attention_bias = Bias::always,
      .window = WindowRule::layer_types,
      .default_window = 4096,
      .default_max_positions = 32768,
      .default_kv_heads = 32,
      .own_fields = {{"sliding_window", read},
                     {"use_sliding_window", read},
                     {"max_window_layers", read},
                     {"layer_types", read},
                     // transformers 4.57's Qwen2 has its biases whatever the configuration says.
                     {"attention_bias", ignored},
                     {"mlp_bias", ignored},
                     // What surrounds the text: the vision tower stays as it is.
                     {"vision_config", ignored},
                     {"image_token_id", ignored},
                     {"video_token_id", ignored},
                     {"vision_start_token_id", ignored},
                     {"vision_end_token_id", ignored},
                     {"vision_token_id", ignored}},
  };
  return architecture;
}

}  // namespace mxq
