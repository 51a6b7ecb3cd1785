// GGUF's names and order of rows against Hugging Face's.
// Sources: the tensor names of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md ("Standardized tensor
// names"); the row order from llama.cpp's convert_hf_to_gguf.py, which permutes q and k of some architectures
// (Architecture::gguf_permutes_rows) so that rotary embedding can pair neighbouring rows instead of the two halves of a
// head.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/arch/architecture.h"

namespace mxq {

/// "blk.0.attn_q.weight" -> "model.layers.0.self_attn.q_proj.weight"; nullopt for names that have no counterpart in
/// the architecture. All experts' matrices are one tensor in GGUF: "{}" stands for their numbers in HF's name.
std::optional<std::string> hf_name_from_gguf(const Architecture& architecture, std::string_view gguf_name);
std::optional<std::string> gguf_name_from_hf(const Architecture& architecture, std::string_view hf_name);

/// True for tables that a GGUF holds beside the weights and that an HF checkpoint has in its config instead.
bool gguf_is_rope_table(std::string_view gguf_name);

/// Where row `row` of the HF tensor lies in the permuted GGUF tensor whose heads have `head_rows` rows (even): within a
/// head, HF has the first halves of all pairs and then the second ones, GGUF pair after pair.
int64_t gguf_row_of_hf_row(int64_t row, int64_t head_rows);

}  // namespace mxq
