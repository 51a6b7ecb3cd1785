// How the package tokenizers numbers the tokens that are added to a model's vocabulary.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "model/tokenizer/added_tokens.h"

namespace mxq {

using TokenIds = std::unordered_map<std::string, uint32_t>;

class AddedVocabulary {
 public:
  /// `model` is the vocabulary of the model; it must outlive this.
  explicit AddedVocabulary(const TokenIds& model) : model_(model) {}

  /// A token that the model or an earlier call knows keeps its id and gets these settings; any other token gets the
  /// next id, whatever `token.id` says: behind all added ones, or behind as many as the model has tokens. An empty
  /// token is left out.
  void add(AddedToken token);

  /// Of added tokens and the model's.
  std::optional<uint32_t> id_of(const std::string& token) const;
  bool is_added(const std::string& token) const { return ids_.contains(token); }
  /// What is looked for, with the last settings of each token, but three things of the package's own: a token is
  /// special if it ever was; from then on it is looked for in the text (or the normalized text) that it was looked for
  /// in at that time; and in all that it was looked for in before.
  std::vector<AddedToken> tokens() const;

 private:
  const TokenIds& model_;
  TokenIds ids_;
  std::map<uint32_t, AddedToken> by_id_;
  std::unordered_set<std::string> special_;
  std::vector<std::pair<std::string, bool>> wanted_;  // token, whether looked for in the normalized text
};

}  // namespace mxq
