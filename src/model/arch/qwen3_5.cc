// Qwen3.5, of text: Qwen3-Next's layers with dense networks, the projections of linear attention apart.
#include "model/arch/qwen3_5_fields.h"

namespace mxq {

const Architecture& qwen3_5_architecture() {
  static const Architecture architecture{
      .name = "qwen3_5_text",
      .gguf_name = "qwen35",
      .also = {"qwen3_5"},
      .class_name = "Qwen3_5",
      .tensors = gated_attention_tensors(),
      .linear_tensors = with_linear_attention(gated_attention_tensors(), qwen3_5_linear_tensors()),
      .gguf_tiles_value_heads = true,
      .norm = Norm::rms_plus_one,
      .gated_queries = true,
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .default_max_positions = 32768,
      .default_kv_heads = 4,
      .default_head_dim = 256,
      .default_rotary_part = 0.25,
      .read_config = read_qwen3_5,
      .write_config = write_qwen3_5,
      .own_fields = qwen3_5_fields(),
      .read_gguf = read_gguf_linear_attention,
      .own_gguf_fields = gguf_qwen3_5_fields(),
  };
  return architecture;
}

}  // namespace mxq
