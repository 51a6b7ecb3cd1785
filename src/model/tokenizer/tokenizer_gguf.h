// The tokenizer in a GGUF file's metadata.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "format/gguf.h"
#include "model/tokenizer/tokenizer_spec.h"
#include "model/tokenizer/word_rules.h"

namespace mxq {

/// From tokenizer.ggml.*: models "gpt2" (BPE, words cut by the rule that tokenizer.ggml.pre names), "gemma4" (the same
/// with the rule of that name) and "llama" (SentencePiece BPE: the neighbours whose union has the highest score merge
/// first, of equal ones the leftmost). Throws Error(invalid_file) as read_vocabulary(), read_merges() and
/// merges_from_scores() do, Error(unsupported) for other models and rules.
TokenizerSpec tokenizer_spec(const GgufFile& file);

/// The rule for words of a model "gpt2" or "gemma4". Throws Error(unsupported) for an unknown name.
WordRule named_word_rule(const GgufFile& file, const std::string& operation);

/// What a rule makes of a text, with the members of TokenizerSpec that say so; its model is byte-level BPE.
void apply_word_rule(const WordRule& rule, TokenizerSpec& spec);

/// The name of the rule by which a byte-level BPE cuts a text, and takes whole words for tokens. nullopt where there is
/// none: the tokenizer cuts otherwise than any that llama.cpp knows.
std::optional<std::string_view> name_of_word_rule(const TokenizerSpec& spec);

/// What a user should know of a file that does not say how its text is cut into words; empty where it does.
std::string word_rule_remark(const GgufFile& file);

}  // namespace mxq
