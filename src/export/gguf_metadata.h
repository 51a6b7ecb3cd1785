// A model's metadata as a GGUF file has them.
#pragma once

#include <string>
#include <vector>

#include "format/gguf_writer.h"
#include "model/model_source.h"

namespace mxq {

/// All entries but general.file_type, which says how the file's tensors are quantized: the caller adds it.
/// Of a model that comes from a GGUF its own, in the file's order, but for those of how it was quantized and split.
/// Of others: general.*, the architecture's keys, the tokenizer of tokenizer.json and the files beside it, and the
/// template for chats. Without tokenizer.json tokenizer.ggml.model is "no_vocab", which llama.cpp loads.
/// `notes`: what GGUF or llama.cpp leaves out of it, a sentence each. Throws Error(unsupported), headed by "write
/// GGUF", for architectures, configurations and tokenizers that GGUF cannot say; what gguf_tensors() throws, and what
/// reading the tokenizer throws.
std::vector<GgufEntry> gguf_metadata(const ModelSource& model, std::vector<std::string>& notes);

}  // namespace mxq
