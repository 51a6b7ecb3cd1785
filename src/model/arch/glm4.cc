// GLM-4 (0414): norms before and behind, gate and up in one matrix, rotary embedding of neighbours on half of each
// head.
#include "model/arch/architecture.h"

namespace mxq {

namespace {

std::vector<LayerTensor> tensors() {
  using enum Extent;
  return replaced(with_gate_up(), LayerPart::feed_forward_norm,
                  {{LayerPart::attention_norm, "post_self_attn_layernorm", "post_attention_norm", hidden, none, {}},
                   {LayerPart::feed_forward_norm, "post_attention_layernorm", "ffn_norm", hidden, none, {}}}) +
         std::vector<LayerTensor>{{LayerPart::output_norm, "post_mlp_layernorm", "post_ffw_norm", hidden, none, {}}};
}

}  // namespace

const Architecture& glm4_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "glm4",
      .gguf_name = "glm4",
      .class_name = "Glm4",
      .tensors = tensors(),
      .rotates_neighbours = true,
      .attention_bias = Bias::by_config,
      .default_attention_bias = true,
      .default_max_positions = 131072,
      .default_kv_heads = 2,
      .default_head_dim = 128,
      .default_rotary_part = 0.5,
      .default_eps = 0.00000015625,
      .own_fields = {{"partial_rotary_factor", read},
                     {"attention_bias", read},
                     // transformers 4.57's GLM-4 reads none of these.
                     {"mlp_bias", ignored},
                     {"sliding_window", ignored},
                     {"use_sliding_window", ignored},
                     {"layer_types", ignored}},
  };
  return architecture;
}

}  // namespace mxq
