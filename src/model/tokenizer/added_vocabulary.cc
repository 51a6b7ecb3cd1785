#include "model/tokenizer/added_vocabulary.h"

#include <algorithm>
#include <utility>

namespace mxq {

void AddedVocabulary::add(AddedToken token) {
  if (token.content.empty()) return;
  const bool was_special = special_.contains(token.content);
  if (token.special && !was_special) special_.insert(token.content);
  if (!was_special) wanted_.emplace_back(token.content, token.normalized);
  if (const auto known = id_of(token.content)) {
    token.id = *known;
  } else {
    token.id = static_cast<uint32_t>(model_.size());
    if (!by_id_.empty()) token.id = std::max(token.id, by_id_.rbegin()->first + 1);
  }
  ids_[token.content] = token.id;
  by_id_[token.id] = std::move(token);
}

std::optional<uint32_t> AddedVocabulary::id_of(const std::string& token) const {
  for (const TokenIds* ids : {&std::as_const(ids_), &model_}) {
    if (const auto found = ids->find(token); found != ids->end()) return found->second;
  }
  return std::nullopt;
}

std::vector<AddedToken> AddedVocabulary::tokens() const {
  std::vector<AddedToken> result;
  for (const auto& [content, normalized] : wanted_) {
    const AddedToken& last = by_id_.at(ids_.at(content));
    result.push_back(last);
    result.back().special = special_.contains(content);
    result.back().normalized = normalized;
  }
  return result;
}

}  // namespace mxq
