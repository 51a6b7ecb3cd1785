// Ministral: Mistral whose layers may differ in their windows.
#include "model/arch/architecture.h"

namespace mxq {

const Architecture& ministral_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "ministral",
      .class_name = "Ministral",
      .window = WindowRule::all_or_types,
      .default_window = 4096,
      .default_max_positions = 131072,
      .default_kv_heads = 8,
      .own_fields = {{"sliding_window", read},
                     {"layer_types", read},
                     // transformers 4.57's Ministral reads none of these.
                     {"attention_bias", ignored},
                     {"mlp_bias", ignored},
                     {"use_sliding_window", ignored},
                     {"max_window_layers", ignored}},
  };
  return architecture;
}

}  // namespace mxq
