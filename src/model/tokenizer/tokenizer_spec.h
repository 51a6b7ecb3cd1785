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
    prepend,             // `to` before a text that is not empty
    prepend_if_missing,  // the same, unless it begins so
    prepend_if_first,    // the same, at the beginning of the whole text only
    replace,             // `from` by `to` everywhere
    nfc,                 // Unicode's normal form C
  };
  Kind kind = replace;
  std::string from, to;
};

struct TokenizerSpec {
  std::string operation;            // heads errors: "read the tokenizer of m.gguf"
  std::vector<std::string> tokens;  // by id, as the file has them; empty for an id without token
  std::vector<BpeMerge> merges;
  std::vector<AddedToken> added;

  std::vector<NormalizeStep> normalize;
  std::vector<SplitRule> split;
  bool byte_level = false;     // tokens are in GPT-2's alphabet of bytes
  bool byte_fallback = false;  // a character without token becomes its bytes' tokens "<0x0A>"
  bool ignore_merges = false;  // a word that is a token needs no merges
  bool fuse_unknown = false;   // neighbouring unknown characters become one unknown token
  std::optional<uint32_t> unknown, bos, eos;
  bool adds_bos = false;

  std::string space_mark;          // stands for a blank when decoding; empty: nothing does
  bool strip_first_blank = false;  // the blank that normalizing prepended goes when decoding
};

}  // namespace mxq
