// Qwen3.5, of text: Qwen3-Next's layers with dense networks, the projections of linear attention apart.
#include "model/arch/qwen3_5_fields.h"

namespace mxq {

const Architecture& qwen3_5_architecture() {
  static const Architecture architecture = [] {
    Architecture qwen = linear_attention_family();
    qwen.name = "qwen3_5_text";
    qwen.gguf_name = "qwen35";
    qwen.also = {"qwen3_5"};
    qwen.class_name = "Qwen3_5";
    qwen.tensors = gated_attention_tensors();
    qwen.linear_tensors = with_linear_attention(qwen.tensors, qwen3_5_linear_tensors());
    qwen.gguf_tiles_value_heads = true;
    qwen.default_kv_heads = 4;
    qwen.read_config = read_qwen3_5;
    qwen.write_config = write_qwen3_5;
    qwen.own_fields = qwen3_5_fields();
    qwen.read_gguf = read_gguf_linear_attention;
    qwen.write_gguf = write_gguf_qwen3_5;
    qwen.own_gguf_fields = gguf_qwen3_5_fields();
    return qwen;
  }();
  return architecture;
}

}  // namespace mxq
