// What the files beside tokenizer.json say about tokens: tokenizer_config.json and its forerunners.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/added_vocabulary.h"

namespace mxq {

/// A file's text and its name in errors; no source: there is no such file.
struct SideFile {
  std::string text, source;
};

struct TokenizerSideFiles {
  SideFile tokenizer_config = {};    // tokenizer_config.json
  SideFile special_tokens_map = {};  // special_tokens_map.json } read where tokenizer_config.json has no
  SideFile added_tokens = {};        // added_tokens.json       } added_tokens_decoder
  SideFile model_config = {};        // config.json: names the class where tokenizer_config.json does not
};

/// Fields of tokenizer_config.json that neither TokenizerConfig reads nor is known to leave ids as they are, in the
/// file's order. Empty for what is no JSON object.
std::vector<std::string> unknown_tokenizer_fields(std::string_view tokenizer_config);

/// transformers 4.57's AutoTokenizer makes a tokenizer of a class from tokenizer.json; some classes put their own rules
/// in place of the file's.
class TokenizerConfig {
 public:
  /// Throws Error(invalid_file) for fields of the wrong kind, Error(unsupported) for classes outside those of
  /// byte-level and SentencePiece BPE, and for settings that only such a class's other files could carry out.
  /// `file_tokens` are tokenizer.json's added tokens with the ids that it gives them.
  TokenizerConfig(const TokenizerSideFiles& files, const std::vector<AddedToken>& file_tokens);

  /// Adds the tokens that only these files name, in transformers' order.
  void add_tokens(AddedVocabulary& vocabulary) const;

  /// The class makes a template of its own: BOS if `adds_bos`, the text, EOS if `adds_eos`.
  bool has_template() const;
  bool adds_bos() const { return adds_bos_; }
  bool adds_eos() const { return adds_eos_; }
  /// nullopt: none, or said to be none.
  std::optional<std::string> bos() const { return name("bos_token"); }
  std::optional<std::string> eos() const { return name("eos_token"); }
  std::optional<std::string> unknown() const { return name("unk_token"); }
  std::optional<std::string> padding() const { return name("pad_token"); }

  /// What a pre_tokenizer ByteLevel, alone, has for add_prefix_space instead of its own; nullopt: its own.
  std::optional<bool> byte_level_prefix_space() const;
  /// All pre_tokenizers ByteLevel have add_prefix_space.
  bool prefix_space_everywhere() const;
  /// For a Llama class with add_prefix_space: whether it holds, and whether spaces are put by the rules of old. The
  /// class then makes normalizer and pre_tokenizer anew.
  struct Respaced {
    bool prefix = false, legacy = true;
  };
  std::optional<Respaced> respaced() const;
  /// Special tokens that a text spells out are plain text.
  bool splits_special_tokens() const { return splits_special_; }
  const std::string& operation() const { return operation_; }

 private:
  struct NamedToken {
    AddedToken token;
    bool bare = true;  // its name only, no settings
    bool normalized_said = false;
  };
  struct Special {
    std::string name;                // "bos_token"
    std::vector<NamedToken> tokens;  // one; several of additional_special_tokens; none: null
  };
  class Reader;

  std::optional<std::string> name(std::string_view special) const;
  Special& special(std::string_view name);

  std::string operation_, class_ = "PreTrainedTokenizer";
  std::vector<Special> specials_;
  std::vector<NamedToken> decoder_;  // by id
  bool adds_bos_ = false, adds_eos_ = false, splits_special_ = false, legacy_ = true;
  std::optional<bool> prefix_space_;
  bool prefix_space_null_ = false;
};

}  // namespace mxq
