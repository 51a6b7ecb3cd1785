// GGUF's names against Hugging Face's.
// Sources: the tensor names of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md ("Standardized tensor names")
// and of llama.cpp's gguf-py/gguf/constants.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/arch/architecture.h"

namespace mxq {

/// A tensor of a GGUF under Hugging Face's name.
struct HfName {
  std::string name;                     // "model.layers.0.self_attn.q_proj.weight"
  const LayerTensor* tensor = nullptr;  // of a layer's; null: the model has it
  int piece = 0, pieces = 1;            // which of the file's tensors, in the order of rows, of how many

  bool is_of_all_experts() const { return name.find("{}") != std::string::npos; }
};

/// Of "blk.0.attn_q.weight"; nullopt for names that have no counterpart in the architecture. All experts' matrices are
/// one tensor in GGUF: "{}" stands for their numbers in HF's name.
/// Layers from `mtp_from` on foretell more than one token: "mtp.layers.0.self_attn.q_proj.weight".
std::optional<HfName> hf_name_from_gguf(const Architecture& architecture, std::string_view gguf_name,
                                        std::optional<int64_t> mtp_from = std::nullopt);

/// A tensor under GGUF's name.
struct GgufName {
  std::string name;                     // "blk.0.attn_q.weight"; of an expert's that of all experts
  std::string rest;                     // has the last rows, where GGUF cuts the tensor in two; else empty
  const LayerTensor* tensor = nullptr;  // of a layer's; null: the model has it
};

/// The other way round, of any expert's too. `mtp_from`: the number of the first layer under "mtp.", which have no name
/// without it.
std::optional<GgufName> find_gguf_name(const Architecture& architecture, std::string_view hf_name,
                                       std::optional<int64_t> mtp_from = std::nullopt);
/// Its name alone.
std::optional<std::string> gguf_name_from_hf(const Architecture& architecture, std::string_view hf_name);

/// True for tables that a GGUF holds beside the weights and that an HF checkpoint has in its config instead.
bool gguf_is_rope_table(std::string_view gguf_name);

}  // namespace mxq
