// A GGUF file's tokenizer as the files that transformers and tokenizers load.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "format/gguf.h"

namespace mxq {

struct TokenizerFiles {
  /// File name -> text: tokenizer.json, tokenizer_config.json, special_tokens_map.json, generation_config.json.
  std::map<std::string, std::string> files;
  /// What could not be carried over, a sentence each, for the user to read.
  std::vector<std::string> notes;
};

/// Rebuilds the files from tokenizer.ggml.*:
///   model "gpt2"   BPE; the rule that cuts text into words is known by its name only (tokenizer.ggml.pre): those of
///                  word_rule(). "gemma4": the same, with the rule of that name
///   model "llama"  SentencePiece BPE with byte fallback; the merges follow from the scores
/// For any other model or rule, and without merges or scores, there is no tokenizer.json but a note; without a
/// tokenizer in the file there is nothing but generation_config.json. Throws Error(invalid_file) for a vocabulary that
/// contradicts itself (tokens that are not UTF-8, arrays of different lengths, merges of tokens that are not there).
TokenizerFiles tokenizer_files(const GgufFile& file);

}  // namespace mxq
