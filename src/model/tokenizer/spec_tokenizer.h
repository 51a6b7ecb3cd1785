// The tokenizer that a TokenizerSpec describes.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/tokenizer/tokenizer_spec.h"
#include "model/tokenizer/unigram.h"
#include "mxq/tokenizer.h"

namespace mxq {

class SpecTokenizer : public Tokenizer {
 public:
  /// Throws Error(invalid_file) for ids outside the vocabulary, Error(unsupported) for split patterns that PCRE2
  /// refuses.
  explicit SpecTokenizer(TokenizerSpec spec);

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const override;
  std::string decode(std::span<const int32_t> ids) const override;
  int32_t vocab_size() const override { return static_cast<int32_t>(spec_.tokens.size()); }
  std::optional<int32_t> bos() const override { return spec_.bos; }
  std::optional<int32_t> eos() const override { return spec_.eos; }
  bool adds_bos() const override { return !spec_.prefix.empty(); }
  std::string remark() const override { return spec_.remark; }

 private:
  class Encoder;
  static constexpr int32_t kNone = -1;

  int32_t find(std::string_view word) const;
  int32_t find_character(std::string_view character) const;
  std::vector<bool> initial_symbols() const;
  std::string normalize(std::string_view text) const;

  TokenizerSpec spec_;
  AddedTokens added_, normalized_;
  // One for each step of words, and of normalizing, that has a pattern; null for others.
  std::vector<std::unique_ptr<Splitter>> splitters_, replacers_;
  MergeTable merges_;
  MergeCuts cuts_;
  std::optional<Unigram> unigram_;                // instead of merges
  std::vector<std::string> pieces_;               // what each id decodes to
  std::unordered_map<std::string, int32_t> ids_;  // by the text or bytes that a token stands for
  std::array<int32_t, 256> byte_ids_{};           // a byte's token; kNone where there is none
  std::vector<int32_t> character_ids_;            // likewise of the characters below its size
};

}  // namespace mxq
