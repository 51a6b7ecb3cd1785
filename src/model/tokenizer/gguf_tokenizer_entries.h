// A tokenizer as GGUF metadata: the other side of tokenizer_gguf.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/gguf_writer.h"
#include "model/tokenizer/tokenizer_spec.h"

namespace mxq {

/// tokenizer.ggml.*: byte-level BPE as model "gpt2", whose tokenizer.ggml.pre names the rule that cuts text into words,
/// SentencePiece's BPE as model "llama", whose scores put the merges in order. `rows`: of the embedding, one for each
/// token of the file: those that the tokenizer lacks are marked as unused, those that it has beyond are left out.
/// `notes`: what GGUF cannot say, a sentence each. Throws Error(unsupported), headed by "write GGUF", for tokenizers
/// that are neither, and for byte-level ones that cut text by no known rule.
std::vector<GgufEntry> gguf_tokenizer_entries(const TokenizerSpec& spec, int64_t rows, std::vector<std::string>& notes);

}  // namespace mxq
