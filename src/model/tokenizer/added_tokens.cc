#include "model/tokenizer/added_tokens.h"

#include <algorithm>

#include "model/tokenizer/utf8.h"

namespace mxq {

namespace {

// Unicode's White_Space.
bool is_white_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t white_space_before(std::string_view text) {
  size_t count = 0;
  while (count < text.size()) {
    size_t at = text.size() - count - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
    if (!is_white_space(first_character(text.substr(at)))) break;
    count = text.size() - at;
  }
  return count;
}

size_t white_space_after(std::string_view text) {
  size_t count = 0;
  while (count < text.size() && is_white_space(first_character(text.substr(count)))) {
    count += character_length(text.substr(count));
  }
  return count;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (const auto& token : tokens_) first_[static_cast<unsigned char>(token.content[0])] = true;
}

// Narrows the sorted list to the tokens that begin like the text, byte by byte.
const AddedToken* AddedTokens::longest_at(std::string_view text, bool special) const {
  const AddedToken* longest = nullptr;
  auto begin = tokens_.begin(), end = tokens_.end();
  for (size_t i = 0; i < text.size() && begin != end; ++i) {
    const auto byte = [i](const AddedToken& token) {  // a token that ends here comes before all others
      return i < token.content.size() ? static_cast<int>(static_cast<unsigned char>(token.content[i])) : -1;
    };
    const int wanted = static_cast<unsigned char>(text[i]);
    begin = std::partition_point(begin, end, [&](const AddedToken& token) { return byte(token) < wanted; });
    end = std::partition_point(begin, end, [&](const AddedToken& token) { return byte(token) <= wanted; });
    for (auto token = begin; token != end && token->content.size() == i + 1; ++token) {
      if (special || !token->special) longest = &*token;
    }
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
    const AddedToken* token = longest_at(text.substr(at), special);
    if (!token) {
      ++at;
      continue;
    }
    const size_t before = token->lstrip ? white_space_before(text.substr(done, at - done)) : 0;
    if (at - before > done) sections.push_back({text.substr(done, at - before - done), nullptr});
    sections.push_back({text.substr(at, token->content.size()), token});
    at += token->content.size();
    if (token->rstrip) at += white_space_after(text.substr(at));
    done = at;
  }
  if (done < text.size()) sections.push_back({text.substr(done), nullptr});
  return sections;
}

}  // namespace mxq
