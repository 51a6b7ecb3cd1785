// Sources: get_vocab_base() and does_token_look_special() of llama.cpp's convert_hf_to_gguf.py for types of tokens.
#include "model/tokenizer/gguf_tokenizer_entries.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/utf8.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer_vocabulary.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr const char* kOperation = "write GGUF";
constexpr float kNoScore = -1000;  // the converter's, of added tokens

[[noreturn]] void refuse(std::string given, std::string supported) {
  throw Error(ErrorCode::unsupported, kOperation, std::move(given), std::move(supported));
}

// Published models have such tokens that their files do not call special, and llama.cpp hides them as if they were.
bool looks_special(std::string_view token) {
  static constexpr std::array<std::string_view, 4> names{"<pad>", "<mask>", "<2mass>", "[@BOS@]"};
  const auto between = [&](std::string_view begin, std::string_view end) {
    return token.size() >= begin.size() + end.size() && token.starts_with(begin) && token.ends_with(end);
  };
  return std::find(names.begin(), names.end(), token) != names.end() || between("<|", "|>") || between("<｜", "｜>") ||
         between("<unused", ">");
}

bool is_byte(std::string_view token) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with('>') && hex.find(token[3]) != hex.npos &&
         hex.find(token[4]) != hex.npos;
}

std::string no_token(size_t id) {
  return fmt::format("[PAD{}]", id);
}

std::string shown(const WordStep& step) {
  switch (step.kind) {
    case WordStep::split:
      return in_quotes(step.rule.pattern);
    case WordStep::mark_blanks:
      return "marks for blanks";
    case WordStep::prepend:
    case WordStep::prepend_first:
      return fmt::format("{} in front", in_quotes(step.mark));
    case WordStep::to_letters:
      return "bytes as letters";
    case WordStep::from_letters:
      return "letters as bytes";
  }
  return "";
}

class Builder {
 public:
  Builder(const TokenizerSpec& spec, int64_t rows, std::vector<std::string>& notes)
      : spec_(spec), rows_(static_cast<size_t>(rows)), notes_(notes) {}

  std::vector<GgufEntry> build() {
    if (!spec_.scores.empty()) refuse("a tokenizer of the kind Unigram", "BPE");
    if (spec_.split_special) notes_.emplace_back("GGUF cannot say that special tokens in a text are plain text");
    const std::string pre = spec_.byte_level ? word_rule() : sentencepiece();
    tokens();
    add("model", std::string(spec_.byte_level ? "gpt2" : "llama"));
    add("pre", pre);
    add("tokens", tokens_);
    std::vector<float> all;
    if (!spec_.byte_level) all = scores();
    if (!all.empty()) add("scores", std::move(all));
    std::vector<int32_t> types;
    for (const TokenType type : types_) types.push_back(static_cast<int32_t>(type));
    add("token_type", std::move(types));
    if (spec_.byte_level) add("merges", merges());
    id("bos_token_id", spec_.bos);
    id("eos_token_id", spec_.eos);
    id("unknown_token_id", spec_.unknown ? spec_.unknown : spec_.named_unknown);
    id("padding_token_id", spec_.padding);
    surroundings();
    return std::move(entries_);
  }

 private:
  void add(const char* key, GgufOwnValue value) {
    entries_.push_back({std::string("tokenizer.ggml.") + key, std::move(value)});
  }
  void id(const char* key, const std::optional<uint32_t>& id) {
    if (id && *id < rows_) add(key, *id);
  }

  std::string word_rule() const {
    if (const auto name = name_of_word_rule(spec_)) return std::string(*name);
    std::vector<std::string> steps;
    for (const WordStep& step : spec_.words) steps.push_back(shown(step));
    refuse(fmt::format("a tokenizer that cuts text into words by {}{}, after {} normalizing steps",
                       steps.empty() ? "nothing" : fmt::format("{}", fmt::join(steps, " and ")),
                       spec_.ignore_merges ? " and takes whole words for tokens" : "", spec_.normalize.size()),
           "the rules that llama.cpp names " + word_rule_names());
  }

  // Marks for blanks, in the text or in its words, with one in front or without.
  std::string sentencepiece() {
    const std::string mark(kSpaceMark);
    const NormalizeStep front{NormalizeStep::prepend, {}, mark}, blanks{NormalizeStep::replace, " ", mark};
    const auto& normalize = spec_.normalize;
    const bool in_text = !normalize.empty() && normalize.back() == blanks;
    const bool front_of_text = in_text && normalize.size() == 2 && normalize.front() == front;
    bool known = spec_.byte_fallback && (in_text ? normalize.size() == 1 || front_of_text : normalize.empty());
    bool front_of_words = false, marks = in_text;
    for (const WordStep& step : spec_.words) {
      if (step.kind == WordStep::mark_blanks && step.mark == mark) {
        marks = true;
      } else if ((step.kind == WordStep::prepend || step.kind == WordStep::prepend_first) && step.mark == mark) {
        front_of_words = true;
      } else if (step.kind != WordStep::split || !step.rule.literal ||
                 (step.rule.pattern != " " && step.rule.pattern != mark)) {
        known = false;  // cuts at blanks change nothing: no token has one but at its beginning
      }
    }
    if (!known || !marks) {
      refuse("a tokenizer that is neither byte-level BPE nor SentencePiece's BPE with bytes for unknown characters",
             "one of these");
    }
    space_prefix_ = front_of_text || front_of_words;
    return "default";
  }

  void tokens() {
    std::unordered_map<uint32_t, bool> special;  // of added tokens
    size_t beside = 0;
    for (const AddedToken& token : spec_.added) {
      special[token.id] = token.special || looks_special(token.content);
      beside += token.lstrip || token.rstrip || token.single_word;
    }
    if (beside > 0) {
      notes_.push_back(
          fmt::format("{} tokens take blanks beside them along, or stand alone: GGUF cannot say it", beside));
    }
    if (spec_.tokens.size() > rows_) {
      notes_.push_back(fmt::format("the tokenizer knows {} tokens, the model {}: the others are left out",
                                   spec_.tokens.size(), rows_));
    }
    for (size_t i = 0; i < rows_; ++i) {
      std::string token = i < spec_.tokens.size() ? spec_.tokens[i] : std::string();
      const auto added = special.find(static_cast<uint32_t>(i));
      TokenType type = TokenType::normal;
      if (token.empty() || token == no_token(i)) {
        token = no_token(i);
        type = TokenType::unused;
      } else if (added != special.end()) {
        type = added->second ? TokenType::control : TokenType::user_defined;
        if (!spec_.byte_level && type == TokenType::user_defined) replace_all(token, kSpaceMark, " ");
      } else if (!spec_.byte_level && spec_.unknown == i) {
        type = TokenType::unknown;
      } else if (spec_.byte_fallback && is_byte(token)) {
        type = TokenType::byte;
      }
      tokens_.push_back(std::move(token));
      types_.push_back(type);
    }
  }

  static void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
  }

  bool has(const BpeMerge& merge) const { return std::max({merge.left, merge.right, merge.whole}) < rows_; }

  std::vector<std::string> merges() const {
    std::vector<std::string> lines;
    lines.reserve(spec_.merges.size());
    for (const BpeMerge& merge : spec_.merges) {
      if (has(merge)) lines.push_back(spec_.tokens[merge.left] + " " + spec_.tokens[merge.right]);
    }
    return lines;
  }

  // SentencePiece joins the neighbours whose union has the highest score: a token's is the place of the first merge
  // that makes it. Characters come behind, as they do in the files of SentencePiece.
  std::vector<float> scores() {
    std::vector<float> scores(rows_, 0);
    std::vector<bool> made(rows_);
    std::unordered_set<uint64_t> pairs;
    int64_t place = 0, elsewhere = 0;
    uint32_t last = UINT32_MAX;
    for (const BpeMerge& merge : spec_.merges) {
      if (!has(merge)) continue;
      pairs.insert(uint64_t{merge.left} << 32 | merge.right);
      if (types_[merge.whole] == TokenType::normal && merge.whole != last) {
        elsewhere += made[merge.whole];
        if (!made[merge.whole]) scores[merge.whole] = static_cast<float>(-place++);
        made[merge.whole] = true;
      }
      last = merge.whole;
    }
    for (size_t i = 0; i < rows_; ++i) {
      if (types_[i] == TokenType::normal && !made[i]) scores[i] = static_cast<float>(-place++);
      if (types_[i] != TokenType::normal && types_[i] != TokenType::byte) scores[i] = kNoScore;
    }
    check_pairs(pairs, elsewhere);
    return scores;
  }

  // Where scores say more, or another order, than the merges.
  void check_pairs(const std::unordered_set<uint64_t>& pairs, int64_t elsewhere) {
    std::unordered_map<std::string_view, uint32_t> normal;
    for (uint32_t i = 0; i < rows_; ++i) {
      if (types_[i] == TokenType::normal) normal.emplace(tokens_[i], i);
    }
    int64_t more = 0;
    std::string first;
    for (const auto& [token, id] : normal) {
      if (token.size() > kLongestMergedToken) continue;
      for (size_t cut = character_length(token); cut < token.size(); cut += character_length(token.substr(cut))) {
        const auto left = normal.find(token.substr(0, cut)), right = normal.find(token.substr(cut));
        if (left == normal.end() || right == normal.end()) continue;
        if (pairs.contains(uint64_t{left->second} << 32 | right->second)) continue;
        if (++more == 1 || token < first) first = token;
      }
    }
    if (more + elsewhere == 0) return;
    notes_.push_back(fmt::format(
        "the tokenizer's merges are not quite those of scores: {} more ways to merge{}, {} in another place; "
        "llama.cpp may cut some words otherwise",
        more, more > 0 ? fmt::format(" (such as into {})", in_quotes(first)) : "", elsewhere));
  }

  void surroundings() {
    const auto said = [&](const std::vector<uint32_t>& ids, const std::optional<uint32_t>& known, const char* name) {
      if (ids.empty() || (ids.size() == 1 && known == ids.front())) return;
      notes_.push_back(
          fmt::format("the tokenizer surrounds a text by {} tokens on one side: GGUF says {} alone", ids.size(), name));
    };
    said(spec_.prefix, spec_.bos, "BOS");
    said(spec_.suffix, spec_.eos, "EOS");
    add("add_bos_token", !spec_.prefix.empty());
    add("add_eos_token", !spec_.suffix.empty());
    if (!spec_.byte_level) add("add_space_prefix", space_prefix_);
  }

  const TokenizerSpec& spec_;
  size_t rows_;
  std::vector<std::string>& notes_;
  bool space_prefix_ = false;
  std::vector<std::string> tokens_;
  std::vector<TokenType> types_;
  std::vector<GgufEntry> entries_;
};

}  // namespace

std::vector<GgufEntry> gguf_tokenizer_entries(const TokenizerSpec& spec, int64_t rows,
                                              std::vector<std::string>& notes) {
  return Builder(spec, rows, notes).build();
}

}  // namespace mxq
