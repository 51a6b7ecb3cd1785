// OLMo 2: norms only of what attention and the feed-forward network add, and of q and k over all heads.
#include "model/arch/architecture.h"

namespace mxq {

namespace {

std::vector<LayerTensor> tensors() {
  using enum Extent;
  const auto no_input_norm = replaced(llama_tensors(), LayerPart::input_norm, {});
  return replaced(no_input_norm, LayerPart::feed_forward_norm,
                  {{LayerPart::attention_norm, "post_attention_layernorm", "post_attention_norm", hidden, none, {}}}) +
         std::vector<LayerTensor>{
             {LayerPart::output_norm, "post_feedforward_layernorm", "post_ffw_norm", hidden, none, {}},
             {LayerPart::q_norm, "self_attn.q_norm", "attn_q_norm", queries, none, {}},
             {LayerPart::k_norm, "self_attn.k_norm", "attn_k_norm", keys, none, {}}};
}

}  // namespace

const Architecture& olmo2_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "olmo2",
      .gguf_name = "olmo2",
      .class_name = "Olmo2",
      .tensors = tensors(),
      .attention_bias = Bias::by_config,
      .output_bias = Bias::by_config,
      .default_max_positions = 2048,
      .default_eps = 1e-5,
      .own_fields = {{"attention_bias", read},
                     // transformers 4.57's OLMo 2 reads none of these.
                     {"mlp_bias", ignored},
                     {"sliding_window", ignored},
                     {"use_sliding_window", ignored},
                     {"layer_types", ignored},
                     {"clip_qkv", only, {"null"}}},
  };
  return architecture;
}

}  // namespace mxq
