// How byte-level BPE models cut text into words before merging.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace mxq {

/// SentencePiece's mark of a blank, U+2581.
inline constexpr std::string_view kSpaceMark = "\u2581";

/// GPT-2's words: what the pre-tokenizer ByteLevel splits by if its use_regex is set.
inline constexpr const char* kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Each digit (any of Unicode's numbers) is a word.
inline constexpr const char* kSingleDigits = R"(\p{N})";

struct WordRule {
  /// Each cuts the words so far into its matches and what lies between them; null: no more.
  std::array<const char*, 4> patterns{};
  bool nfc = false;            // the text is normalized first
  bool ignore_merges = false;  // a word that is a token needs no merges
  bool adds_bos = false;       // where tokenizer.ggml.add_bos_token does not say
};

/// The rule that a GGUF file names in tokenizer.ggml.pre; nullopt for a name that is not known. "default" is
/// llama.cpp's own, which it also takes where a file names none.
std::optional<WordRule> word_rule(std::string_view pre);
/// The names, for errors.
inline constexpr std::string_view kWordRuleNames =
    "smollm, llama-bpe, qwen2, gpt-2, falcon3, falcon-h1, pixtral, midm-2.0, lfm2, dbrx, smaug-bpe, deepseek-r1-qwen, "
    "stablelm2, megrez, hunyuan, tekken, gpt-4o, llama4, starcoder, refact, command-r, codeshell, exaone, minerva-7b, "
    "phi-2, mpt, olmo, jais, trillion, gigachat, mellum, granite-docling";

}  // namespace mxq
