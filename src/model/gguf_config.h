// The configuration of a model as GGUF metadata: the other side of gguf_config() (model/config.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/gguf_writer.h"
#include "model/config.h"

namespace mxq {

/// Whether a GGUF can hold models of the configuration's architecture.
bool has_gguf_architecture(const ModelConfig& config);

/// general.architecture and the keys of that architecture. `mtp_layers`: layers behind the others that the file has.
/// Throws Error(unsupported), headed by "write GGUF", for architectures that GGUF does not have.
std::vector<GgufEntry> gguf_config_entries(const ModelConfig& config, int64_t mtp_layers);

/// Numbers that an HF checkpoint has in its config, and a GGUF in a tensor of F32 in one dimension.
struct GgufTable {
  std::string name;  // "rope_freqs.weight"
  std::vector<float> numbers;
};
/// Of the rotary embedding's scaling.
std::vector<GgufTable> gguf_tables(const ModelConfig& config);

/// That a GGUF with these entries, tensors and tables is read as a model that computes the same: what its keys cannot
/// say llama.cpp takes for granted. Throws Error(unsupported), headed by "write GGUF", naming the first part of the
/// configuration that would be lost. `tensors` are names with shapes.
void check_gguf_config(const ModelConfig& config, const std::vector<GgufEntry>& entries,
                       const std::vector<GgufTensorSpec>& tensors, const std::vector<GgufTable>& tables);

}  // namespace mxq
