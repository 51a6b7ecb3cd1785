// Phi-3 and Phi-4: q, k and v in one matrix, gate and up in another, rotary embedding on a part of each head.
#include <nlohmann/json.hpp>

#include "model/arch/architecture.h"
#include "model/config.h"
#include "model/config_fields.h"

namespace mxq {

namespace {

std::vector<LayerTensor> tensors() {
  using enum Extent;
  auto tensors = replaced(with_gate_up(), LayerPart::q,
                          {{LayerPart::qkv, "self_attn.qkv_proj", "attn_qkv", qkv, hidden, LayerInput::attention}});
  for (const LayerPart part : {LayerPart::k, LayerPart::v}) tensors = replaced(tensors, part, {});
  return tensors;
}

}  // namespace

const Architecture& phi3_architecture() {
  using enum ConfigField::Use;
  static const Architecture architecture{
      .name = "phi3",
      .gguf_name = "phi3",
      .class_name = "Phi3",
      .tensors = tensors(),
      .window = WindowRule::all_layers,
      .default_max_positions = 4096,
      .default_original_positions = 4096,
      .default_eps = 1e-5,
      .longrope_names = {"su", "yarn"},
      .own_fields = {{"partial_rotary_factor", read},
                     {"sliding_window", read},
                     {"resid_pdrop", ignored},
                     {"embd_pdrop", ignored},
                     // transformers 4.57's Phi-3 reads none of these.
                     {"attention_bias", ignored},
                     {"mlp_bias", ignored},
                     {"use_sliding_window", ignored},
                     {"layer_types", only, {"null"}}},
  };
  return architecture;
}

}  // namespace mxq
