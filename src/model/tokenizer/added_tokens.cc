#include "model/tokenizer/added_tokens.h"

#include <algorithm>

#include "base/utf8.h"
#include "model/tokenizer/unicode.h"

namespace mxq {

namespace {

bool is_within_word(std::string_view text, size_t begin, size_t end) {
  if (end < text.size() && is_word_character(first_character(text.substr(end)))) return true;
  if (begin == 0) return false;
  size_t before = begin - 1;
  while (before > 0 && (static_cast<unsigned char>(text[before]) & 0xc0) == 0x80) --before;
  return is_word_character(first_character(text.substr(before)));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (const auto& token : tokens_) first_[static_cast<unsigned char>(token.content[0])] = true;
}

// Narrows the sorted list to the tokens that begin like the text, byte by byte.
const AddedToken* AddedTokens::longest_at(std::string_view text) const {
  const AddedToken* longest = nullptr;
  auto begin = tokens_.begin(), end = tokens_.end();
  for (size_t i = 0; i < text.size() && begin != end; ++i) {
    const auto byte = [i](const AddedToken& token) {  // a token that ends here comes before all others
      return i < token.content.size() ? static_cast<int>(static_cast<unsigned char>(token.content[i])) : -1;
    };
    const int wanted = static_cast<unsigned char>(text[i]);
    begin = std::partition_point(begin, end, [&](const AddedToken& token) { return byte(token) < wanted; });
    end = std::partition_point(begin, end, [&](const AddedToken& token) { return byte(token) <= wanted; });
    for (auto token = begin; token != end && token->content.size() == i + 1; ++token) longest = &*token;
  }
  return longest;
}

std::vector<AddedTokens::Section> AddedTokens::split(std::string_view text, bool special) const {
  std::vector<Section> sections;
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    if (!first_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    const AddedToken* token = longest_at(text.substr(at));
    if (!token) {
      ++at;
      continue;
    }
    const size_t begin = at;
    at += token->content.size();  // what is passed over is not looked at again
    if ((!special && token->special) || (token->single_word && is_within_word(text, begin, at))) continue;
    size_t from = begin;
    if (begin > done && token->lstrip) from -= trailing_white_space(text.substr(done, begin - done));
    if (from > done) sections.push_back({text.substr(done, from - done), nullptr});
    sections.push_back({text.substr(begin, token->content.size()), token});
    done = at;
    if (token->rstrip) done += leading_white_space(text.substr(at));
  }
  if (done < text.size()) sections.push_back({text.substr(done), nullptr});
  return sections;
}

}  // namespace mxq
