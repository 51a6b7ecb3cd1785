// Qwen3.5, of text: Qwen3-Next's layers with dense networks, the projections of linear attention apart.
#include "model/arch/linear_attention_fields.h"

namespace mxq {

namespace {

std::vector<LayerTensor> linear_tensors() {
  using enum Extent;
  constexpr LayerInput input = LayerInput::attention;
  return delta_rule_tensors({{LayerPart::linear_qkv, "linear_attn.in_proj_qkv", {}, linear_channels, hidden, input},
                             {LayerPart::linear_z, "linear_attn.in_proj_z", {}, linear_values, hidden, input},
                             {LayerPart::linear_b, "linear_attn.in_proj_b", {}, linear_heads, hidden, input},
                             {LayerPart::linear_a, "linear_attn.in_proj_a", {}, linear_heads, hidden, input}});
}

}  // namespace

const Architecture& qwen3_5_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "qwen3_5_text",
      .also = {"qwen3_5"},
      .class_name = "Qwen3_5",
      .tensors = gated_attention_tensors(),
      .linear_tensors = with_linear_attention(gated_attention_tensors(), linear_tensors()),
      .norm = Norm::rms_plus_one,
      .gated_queries = true,
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .default_max_positions = 32768,
      .default_kv_heads = 4,
      .default_head_dim = 256,
      .default_rotary_part = 0.25,
      .read_config = read_linear_attention,
      .write_config = write_linear_attention,
      .own_fields = linear_attention_fields() +
                    std::vector<ConfigField>{
                        {"mtp_num_hidden_layers", ignored},
                        {"mtp_use_dedicated_embeddings", ignored},
                        // How a kernel keeps the state; mxq keeps it in fp32.
                        {"mamba_ssm_dtype", ignored},
                        // What surrounds the text: the vision tower stays as it is.
                        {"vision_config", ignored},
                        {"image_token_id", ignored},
                        {"video_token_id", ignored},
                        {"vision_start_token_id", ignored},
                        {"vision_end_token_id", ignored},
                    },
  };
  return architecture;
}

}  // namespace mxq
