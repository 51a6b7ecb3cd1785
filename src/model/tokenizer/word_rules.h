// How BPE models cut text into words before merging.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/tokenizer/splitter.h"

namespace mxq {

/// SentencePiece's mark of a blank, U+2581.
inline constexpr std::string_view kSpaceMark = "\u2581";

/// GPT-2's words: what the pre-tokenizer ByteLevel splits by if its use_regex is set.
inline constexpr const char* kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Each digit (any of Unicode's numbers) is a word.
inline constexpr const char* kSingleDigits = R"(\p{N})";

/// What the package tokenizers takes for punctuation: ASCII's, and Unicode's (P) as of version 8, by which the signs
/// listed were not yet punctuation, or still were.
inline constexpr const char* kPunctuation =
    R"([!-/:-@\[-`{-~\x{166d}\x{111c9}[\p{P}&&[^\x{61d}\x{9fd}\x{a76}\x{c77}\x{c84}\x{1b4e}\x{1b4f}\x{1b7d}-\x{1b7f})"
    R"(\x{2e43}-\x{2e5d}\x{10d6e}\x{10ead}\x{10f55}-\x{10f59}\x{10f86}-\x{10f89}\x{113d4}-\x{113d8}\x{1144b}-\x{1145d})"
    R"(\x{11660}-\x{1166c}\x{116b9}\x{1183b}\x{11944}-\x{11946}\x{119e2}\x{11a3f}-\x{11aa2}\x{11b00}-\x{11b09}\x{11be1})"
    R"(\x{11c41}-\x{11c71}\x{11ef7}-\x{11fff}\x{12ff1}\x{12ff2}\x{16d6d}-\x{16d6f}\x{16e97}-\x{16e9a}\x{16fe2}\x{1e5ff})"
    R"(\x{1e95e}\x{1e95f}]]])";

struct WordCut {
  const char* pattern = nullptr;  // null: no cut
  SplitBehavior behavior = SplitBehavior::isolated;
  bool of_letters = false;  // cuts the letters of the byte alphabet, not the text
};

struct WordRule {
  /// Each cuts the words so far, in this order; those of letters come last.
  std::array<WordCut, 6> cuts{};
  enum Normal { as_it_is, nfc, nfkc };
  Normal normal = as_it_is;    // what the text is brought into first
  bool byte_level = true;      // false: tokens are text, with marks for blanks and bytes for characters without token
  bool ignore_merges = false;  // a word that is a token needs no merges
  bool adds_bos = false;       // where tokenizer.ggml.add_bos_token does not say
};

struct NamedWordRule {
  std::string_view name;
  WordRule rule;
};
/// All of them, by the names of tokenizer.ggml.pre; of rules that are alike the best known name comes first.
std::span<const NamedWordRule> word_rules();

/// The rule that a GGUF file names in tokenizer.ggml.pre, as the tokenizer.json of the models has it; nullopt for a
/// name that is not known. "default" is llama.cpp's own, which it also takes where a file names none.
std::optional<WordRule> word_rule(std::string_view pre);
/// The names, for errors.
std::string word_rule_names();

}  // namespace mxq
