#include "model/tokenizer_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/utf8.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

[[noreturn]] void invalid(const GgufFile& file, std::string given, std::string supported = {}) {
  throw Error(ErrorCode::invalid_file, "read the tokenizer of " + file.source, std::move(given), std::move(supported));
}

}  // namespace

std::optional<uint32_t> Vocabulary::special(const GgufFile& file, std::string_view key) const {
  const auto id = file.find_u32(key);
  return id && *id < tokens.size() ? id : std::nullopt;
}

Vocabulary read_vocabulary(const GgufFile& file) {
  Vocabulary vocabulary;
  vocabulary.tokens = file.get_strings("tokenizer.ggml.tokens");
  const size_t count = vocabulary.tokens.size();
  vocabulary.types.assign(count, TokenType::normal);
  if (const auto types = file.find_ints("tokenizer.ggml.token_type")) {
    if (types->size() != count) invalid(file, fmt::format("{} token types of {} tokens", types->size(), count));
    for (size_t i = 0; i < count; ++i) {
      if ((*types)[i] < 0 || (*types)[i] > 6) {
        invalid(file, fmt::format("token {} has type {}", i, (*types)[i]), "0 to 6");
      }
      vocabulary.types[i] = static_cast<TokenType>((*types)[i]);
    }
  }
  vocabulary.ids.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const std::string_view token = vocabulary.tokens[i];
    if (find_invalid_utf8(token)) invalid(file, fmt::format("token {} is not UTF-8", i));
    vocabulary.ids[token] = static_cast<uint32_t>(i);
  }
  return vocabulary;
}

std::vector<Merge> read_merges(const GgufFile& file, const Vocabulary& vocabulary) {
  const auto lines = file.get_strings("tokenizer.ggml.merges");
  std::vector<Merge> merges;
  merges.reserve(lines.size());
  std::string whole;
  for (size_t i = 0; i < lines.size(); ++i) {
    const size_t blank = lines[i].find(' ', 1);
    if (blank == std::string_view::npos) invalid(file, fmt::format("merge {} is one word, {}", i, in_quotes(lines[i])));
    const Merge merge{lines[i].substr(0, blank), lines[i].substr(blank + 1)};
    const auto never_made = [&](std::string_view half) {
      return !vocabulary.ids.contains(half) && !find_invalid_utf8(half) && character_length(half) < half.size();
    };
    if (never_made(merge.first) || never_made(merge.second)) continue;
    whole.assign(merge.first).append(merge.second);
    for (std::string_view part : {merge.first, merge.second, std::string_view(whole)}) {
      if (!vocabulary.ids.contains(part)) {
        invalid(file, fmt::format("merge {} needs the token {}, which is not there", i, in_quotes(part)));
      }
    }
    merges.push_back(merge);
  }
  return merges;
}

std::vector<Merge> merges_from_scores(const GgufFile& file, const Vocabulary& vocabulary) {
  const auto scores = file.get_f32s("tokenizer.ggml.scores");
  if (scores.size() != vocabulary.tokens.size()) {
    invalid(file, fmt::format("{} scores of {} tokens", scores.size(), vocabulary.tokens.size()));
  }
  const auto is_normal = [&](std::string_view text) {
    const auto found = vocabulary.ids.find(text);
    return found != vocabulary.ids.end() && vocabulary.types[found->second] == TokenType::normal;
  };

  std::vector<uint32_t> order;
  for (uint32_t id = 0; id < scores.size(); ++id) {
    if (vocabulary.types[id] != TokenType::normal) continue;
    if (!std::isfinite(scores[id])) invalid(file, fmt::format("the score of token {} is {}", id, scores[id]));
    if (vocabulary.tokens[id].size() > kLongestMergedToken) {
      invalid(file, fmt::format("token {} has {} bytes", id, vocabulary.tokens[id].size()),
              fmt::format("at most {}", kLongestMergedToken));
    }
    order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });

  std::vector<Merge> merges;
  std::vector<size_t> cuts;
  for (uint32_t id : order) {
    const std::string_view token = vocabulary.tokens[id];
    cuts.clear();
    for (size_t cut = character_length(token.empty() ? " " : token); cut < token.size();
         cut += character_length(token.substr(cut))) {
      cuts.push_back(cut);
    }
    for (auto cut = cuts.rbegin(); cut != cuts.rend(); ++cut) {
      const Merge merge{token.substr(0, *cut), token.substr(*cut)};
      if (is_normal(merge.first) && is_normal(merge.second)) merges.push_back(merge);
    }
  }
  return merges;
}

}  // namespace mxq
