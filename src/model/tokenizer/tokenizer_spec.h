// What a tokenizer does, whatever file says it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/splitter.h"

namespace mxq {

/// A step that changes the text between two added tokens.
struct NormalizeStep {
  enum Kind {
    prepend,        // `to` before a text that is not empty
    replace,        // `from` by `to` everywhere
    replace_regex,  // what `from` matches by `to` everywhere
    nmt,            // control characters go, other blanks become blanks: SentencePiece's training for translation
    nfc,            // Unicode's normal forms
    nfd,
    nfkc,
    nfkd,
    lower_case,
    without_marks,
    strip_left,  // white space
    strip_right,
  };
  Kind kind = replace;
  std::string from, to;
  bool operator==(const NormalizeStep&) const = default;
};

/// A step that cuts what is left between added tokens into words, each of which is merged by itself.
struct WordStep {
  enum Kind {
    split,
    mark_blanks,    // `mark` for each blank
    prepend,        // `mark` before each word so far that does not begin with it
    prepend_first,  // the same, at the beginning of the whole text only
    to_letters,     // each byte's letter of GPT-2's alphabet; splits behind it cut letters
    from_letters    // back again
  };
  Kind kind = split;
  SplitRule rule = {};
  std::string mark = {};
  bool operator==(const WordStep&) const = default;
};

struct TokenizerSpec {
  std::string operation;            // heads errors: "read the tokenizer of m.gguf"
  std::string remark;               // as Tokenizer::remark()
  std::vector<std::string> tokens;  // by id, as the file has them; empty for an id without token
  std::vector<BpeMerge> merges;     // of BPE
  std::vector<double> scores;       // of Unigram, by id, for the model's own tokens; empty: the model is BPE
  std::vector<AddedToken> added;
  std::vector<bool> only_added;  // by id: no token of the model itself, found as an added one only; empty: none

  std::vector<NormalizeStep> normalize;
  std::vector<WordStep> words;
  bool byte_level = false;      // tokens are in GPT-2's alphabet of bytes
  bool byte_fallback = false;   // a character without token becomes its bytes' tokens "<0x0A>"
  bool ignore_merges = false;   // a word that is a token needs no merges
  bool fuse_unknown = false;    // neighbouring unknown characters become one unknown token
  std::string unknown_missing;  // the name of an unknown token that is no token
  std::optional<uint32_t> unknown, bos, eos;
  std::optional<uint32_t> padding, named_unknown;  // as the files name them; tokenizing needs neither
  std::vector<uint32_t> prefix, suffix;            // what a text begins and ends with
  bool split_special = false;                      // special tokens that a text spells out are plain text

  std::string space_mark;          // stands for a blank when decoding; empty: nothing does
  bool strip_first_blank = false;  // the blank that normalizing prepended goes when decoding
};

}  // namespace mxq
