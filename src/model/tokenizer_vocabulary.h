// The vocabulary of a GGUF file, checked.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "format/gguf.h"

namespace mxq {

/// llama.cpp's token types (tokenizer.ggml.token_type).
enum class TokenType : int {
  undefined = 0,
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

/// Views point into the GGUF file's bytes.
struct Vocabulary {
  std::vector<std::string_view> tokens;                // by id
  std::vector<TokenType> types;                        // as many; all normal where the file has no types
  std::unordered_map<std::string_view, uint32_t> ids;  // of a token that is there twice the last, as in llama.cpp

  /// The id under a key like "tokenizer.ggml.bos_token_id"; nullopt where absent or outside the vocabulary.
  std::optional<uint32_t> special(const GgufFile& file, std::string_view key) const;
};

/// Throws Error(invalid_file) for tokens that are not UTF-8, and types that are too many, too few
/// or unknown.
Vocabulary read_vocabulary(const GgufFile& file);

/// A token's cuts cost its length squared, so a hostile file must not bring a token of megabytes. Real tokens have
/// fewer than 200 bytes.
inline constexpr size_t kLongestMergedToken = 1024;

using Merge = std::pair<std::string_view, std::string_view>;

/// tokenizer.ggml.merges, in order, without those that never happen: of which a half of several characters is no token.
/// Throws Error(invalid_file) for a merge without a blank between its halves, or of which another half or the whole is
/// no token.
std::vector<Merge> read_merges(const GgufFile& file, const Vocabulary& vocabulary);

/// The merges of a SentencePiece BPE model, best first. SentencePiece joins the neighbours whose union has the highest
/// score; so each way to cut a token into two tokens is a merge with the score of the whole. Among equal scores the
/// earlier token comes first, of one token the cut with the longer left half. Only normal tokens take part.
/// Throws Error(invalid_file) for scores that are too many, too few or not finite.
std::vector<Merge> merges_from_scores(const GgufFile& file, const Vocabulary& vocabulary);

}  // namespace mxq
