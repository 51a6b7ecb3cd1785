#include "model/tokenizer/spec_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <span>
#include <utility>

#include "base/utf8.h"
#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/nfc.h"
#include "model/tokenizer/unicode.h"
#include "mxq/error.h"

namespace mxq {

namespace {

constexpr size_t kLongestText = size_t{1} << 30;  // positions are 32 bits
// Longer words come rarely twice.
constexpr size_t kLongestCachedWord = 64;
// Characters whose tokens are in a table: most scripts, and U+2581.
constexpr uint32_t kQuickCharacters = 0x10000;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty() || text.find(from) == std::string::npos) return;
  std::string result;
  result.reserve(text.size() + text.size() / 4);
  size_t done = 0;
  for (size_t at; (at = text.find(from, done)) != std::string::npos; done = at + from.size()) {
    result.append(text, done, at - done).append(to);
  }
  text = std::move(result.append(text, done));
}

std::string byte_token(unsigned byte) {
  return fmt::format("<0x{:02X}>", byte);
}

}  // namespace

SpecTokenizer::SpecTokenizer(TokenizerSpec spec) : spec_(std::move(spec)) {
  const size_t count = spec_.tokens.size();
  const auto check = [&](uint32_t id, const char* what) {
    if (id >= count) {
      throw Error(ErrorCode::invalid_file, spec_.operation, fmt::format("{} has id {}", what, id),
                  fmt::format("below {}", count));
    }
  };
  for (const auto& merge : spec_.merges) {
    check(merge.left, "half of a merge");
    check(merge.right, "half of a merge");
    check(merge.whole, "a merge");
  }
  for (const auto& token : spec_.added) check(token.id, "an added token");
  if (!spec_.scores.empty()) check(static_cast<uint32_t>(spec_.scores.size() - 1), "the last token with a score");
  if (spec_.unknown) check(*spec_.unknown, "the unknown token");
  if (spec_.bos) check(*spec_.bos, "BOS");
  if (spec_.eos) check(*spec_.eos, "EOS");
  for (const auto* around : {&spec_.prefix, &spec_.suffix}) {
    for (const uint32_t id : *around) check(id, "a token around the text");
  }

  ids_.reserve(count);
  pieces_.resize(count);
  for (size_t id = 0; id < count; ++id) {
    const std::string& token = spec_.tokens[id];
    if (token.empty()) continue;
    pieces_[id] = token;
    if (!spec_.only_added.empty() && spec_.only_added[id]) continue;
    if (spec_.byte_level) {
      // A token outside the alphabet is never found in a text, and decodes to itself.
      if (auto bytes = byte_level_bytes(token)) {
        ids_[*bytes] = static_cast<int32_t>(id);  // of a token that is there twice the last counts
        pieces_[id] = *std::move(bytes);
      }
    } else {
      ids_[token] = static_cast<int32_t>(id);
      replace_all(pieces_[id], spec_.space_mark, " ");
    }
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string key = spec_.byte_level ? std::string(1, static_cast<char>(byte)) : byte_token(byte);
    byte_ids_[byte] = spec_.byte_level || spec_.byte_fallback ? find(key) : kNone;
    if (spec_.byte_fallback && byte_ids_[byte] != kNone) {
      pieces_[static_cast<size_t>(byte_ids_[byte])] = std::string(1, static_cast<char>(byte));
    }
  }
  if (!spec_.byte_level) {
    character_ids_.assign(kQuickCharacters, kNone);
    for (const auto& [text, id] : ids_) {
      const uint32_t character = character_length(text) == text.size() ? first_character(text) : kQuickCharacters;
      if (character < kQuickCharacters) character_ids_[character] = id;
    }
  }
  if (spec_.scores.empty()) {
    cuts_ = MergeCuts(spec_.merges, initial_symbols());
    merges_ = MergeTable(std::exchange(spec_.merges, {}), count);
  } else {
    unigram_.emplace(spec_.tokens, std::exchange(spec_.scores, {}), spec_.unknown,
                     spec_.byte_fallback ? std::optional(byte_ids_) : std::nullopt);
  }
  for (const auto& step : spec_.words) {
    splitters_.push_back(step.kind == WordStep::split ? std::make_unique<Splitter>(spec_.operation, step.rule)
                                                      : nullptr);
  }
  for (const auto& step : spec_.normalize) {
    replacers_.push_back(step.kind == NormalizeStep::replace_regex
                             ? std::make_unique<Splitter>(spec_.operation, SplitRule{.pattern = step.from})
                             : nullptr);
  }

  std::vector<AddedToken> plain, normalized;
  for (auto& token : spec_.added) {
    pieces_[token.id] = token.content;
    if (token.normalized) {
      token.content = normalize(token.content);
      normalized.push_back(std::move(token));
    } else {
      plain.push_back(std::move(token));
    }
  }
  added_ = AddedTokens(std::move(plain));
  normalized_ = AddedTokens(std::move(normalized));
  spec_.added.clear();
}

int32_t SpecTokenizer::find(std::string_view word) const {
  const auto found = ids_.find(std::string(word));
  return found == ids_.end() ? kNone : found->second;
}

int32_t SpecTokenizer::find_character(std::string_view text) const {
  const uint32_t character = first_character(text);
  return character < character_ids_.size() ? character_ids_[character] : find(text);
}

// All that Encoder::put() may be given.
std::vector<bool> SpecTokenizer::initial_symbols() const {
  std::vector<bool> initial(spec_.tokens.size());
  const auto add = [&](int32_t id) {
    if (id != kNone) initial[static_cast<size_t>(id)] = true;
  };
  if (spec_.unknown) add(static_cast<int32_t>(*spec_.unknown));
  for (const int32_t id : byte_ids_) add(id);
  if (!spec_.byte_level) {
    for (const auto& [text, id] : ids_) {
      if (character_length(text) == text.size()) add(id);
    }
  }
  return initial;
}

std::string SpecTokenizer::normalize(std::string_view text) const {
  std::string result(text);
  for (size_t i = 0; i < spec_.normalize.size(); ++i) {
    const NormalizeStep& step = spec_.normalize[i];
    switch (step.kind) {
      case NormalizeStep::prepend:
        if (!result.empty()) result.insert(0, step.to);
        break;
      case NormalizeStep::replace:
        replace_all(result, step.from, step.to);
        break;
      case NormalizeStep::replace_regex:
        result = replacers_[i]->replace(result, step.to);
        break;
      case NormalizeStep::nmt:
        result = without_controls(result);
        break;
      case NormalizeStep::nfc:
        result = to_normal_form(result, NormalForm::nfc);
        break;
      case NormalizeStep::nfd:
        result = to_normal_form(result, NormalForm::nfd);
        break;
      case NormalizeStep::nfkc:
        result = to_normal_form(result, NormalForm::nfkc);
        break;
      case NormalizeStep::nfkd:
        result = to_normal_form(result, NormalForm::nfkd);
        break;
      case NormalizeStep::lower_case:
        result = to_lower_case(result);
        break;
      case NormalizeStep::without_marks:
        result = without_marks(result);
        break;
      case NormalizeStep::strip_left:
        result = stripped(result, true, false);
        break;
      case NormalizeStep::strip_right:
        result = stripped(result, false, true);
        break;
    }
  }
  return result;
}

// One call of encode().
class SpecTokenizer::Encoder {
 public:
  Encoder(const SpecTokenizer& tokenizer, std::vector<int32_t>& out, Progress& progress)
      : tokenizer_(tokenizer), spec_(tokenizer.spec_), loop_(tokenizer.merges_), out_(out), progress_(progress) {}

  /// `text` must outlive the encoder. `is_first`: the whole text begins with it.
  void words(std::string_view text, bool is_first) {
    std::vector<std::string_view> pieces{text};
    const char* first = is_first ? text.data() : nullptr;
    for (size_t i = 0; i < spec_.words.size(); ++i) {
      const WordStep& step = spec_.words[i];
      if (step.kind == WordStep::split) {
        pieces = tokenizer_.splitters_[i]->split(pieces);
        continue;
      }
      for (std::string_view& piece : pieces) {
        const bool at_start = piece.data() == first;
        if (!change(step, piece, at_start)) continue;
        piece = changed_.back();
        if (at_start) first = piece.data();
      }
    }
    for (const auto piece : pieces) {
      word(piece);
      tell(piece.size());
    }
  }

 private:
  void tell(size_t bytes) {
    constexpr int64_t kToldAtOnce = 1 << 16;
    done_ += static_cast<int64_t>(bytes);
    if (done_ < told_ + kToldAtOnce) return;
    progress_.update(told_ = done_);
  }

  // Whether a step leaves another text, in changed_.
  bool change(const WordStep& step, std::string_view piece, bool at_start) {
    if (step.kind == WordStep::to_letters) {
      std::string& letters = changed_.emplace_back();
      for (const char c : piece) letters += byte_level_character(static_cast<uint8_t>(c));
      return true;
    }
    if (step.kind == WordStep::from_letters) {
      changed_.push_back(byte_level_bytes(piece).value());  // steps between the two only cut
      return true;
    }
    if (step.kind == WordStep::mark_blanks) {
      if (piece.find(' ') == std::string_view::npos) return false;
      replace_all(changed_.emplace_back(piece), " ", step.mark);
      return true;
    }
    if (piece.starts_with(step.mark) || (step.kind == WordStep::prepend_first && !at_start)) return false;
    changed_.emplace_back(step.mark).append(piece);
    return true;
  }

  void word(std::string_view text) {
    if (text.empty()) return;
    const size_t from = out_.size();
    const bool cached = text.size() <= kLongestCachedWord;
    if (cached) {
      const auto [entry, is_new] = seen_.try_emplace(text, from, 0);
      if (!is_new) return repeat(entry->second);
      merge(text, from);
      entry->second.second = out_.size() - from;
    } else {
      merge(text, from);
    }
  }

  void merge(std::string_view text, size_t from) {
    if (tokenizer_.unigram_) {
      if (!tokenizer_.unigram_->encode(text, out_, unigram_)) refuse_unknown("there is no unknown token");
      return;
    }
    if (spec_.ignore_merges) {
      if (const int32_t id = tokenizer_.find(text); id != kNone) {
        out_.push_back(id);
        return;
      }
    }
    unknown_waits_ = false;
    if (spec_.byte_level) {
      for (const char c : text) put(tokenizer_.byte_ids_[static_cast<unsigned char>(c)]);
    } else {
      while (!text.empty()) {
        const size_t length = character_length(text);
        character(text.substr(0, length));
        text.remove_prefix(length);
      }
    }
    put_unknown();
    if (out_.size() - from <= kLongestCachedWord) return loop_.run(out_, from);
    // A text without words: cut where nothing merges, and merge parts that come again only once.
    long_words_.emplace_back(out_.begin() + static_cast<ptrdiff_t>(from), out_.end());
    const std::vector<int32_t>& symbols = long_words_.back();
    out_.resize(from);
    const auto symbol = [&](size_t i) { return static_cast<uint32_t>(symbols[i]); };
    for (size_t begin = 0, end = 1; begin < symbols.size(); begin = end++) {
      while (end < symbols.size() && !tokenizer_.cuts_.may_cut(symbol(end - 1), symbol(end))) ++end;
      part(std::span(symbols).subspan(begin, end - begin));
    }
  }

  // Like word(), of initial symbols.
  void part(std::span<const int32_t> symbols) {
    const auto merged = [&] {
      const size_t from = out_.size();
      out_.insert(out_.end(), symbols.begin(), symbols.end());
      loop_.run(out_, from);
    };
    if (symbols.size() == 1 || symbols.size() > kLongestCachedWord) return merged();
    const std::string_view key(reinterpret_cast<const char*>(symbols.data()), symbols.size_bytes());
    const auto [entry, is_new] = seen_parts_.try_emplace(key, out_.size(), 0);
    if (is_new) {
      merged();
      entry->second.second = out_.size() - entry->second.first;
    } else {
      repeat(entry->second);
    }
  }

  // Appends what is in out_ already.
  void repeat(const std::pair<size_t, size_t>& where) {
    const auto [first, count] = where;
    const size_t from = out_.size();
    out_.resize(from + count);
    std::copy_n(out_.begin() + static_cast<ptrdiff_t>(first), count, out_.begin() + static_cast<ptrdiff_t>(from));
  }

  void character(std::string_view text) {
    const int32_t id = tokenizer_.find_character(text);
    if (id == kNone && spec_.byte_fallback) {
      const auto byte_id = [&](char c) { return tokenizer_.byte_ids_[static_cast<unsigned char>(c)]; };
      if (std::all_of(text.begin(), text.end(), [&](char c) { return byte_id(c) != kNone; })) {
        // The package's order: an unknown character before them comes behind them.
        for (const char c : text) out_.push_back(byte_id(c));
        return;
      }
    }
    put(id);
  }

  void put(int32_t id) {
    if (id != kNone) {
      put_unknown();
      out_.push_back(id);
      return;
    }
    if (!spec_.unknown_missing.empty()) {
      refuse_unknown(fmt::format("the unknown token '{}' is no token either", spec_.unknown_missing));
    }
    if (!spec_.fuse_unknown) put_unknown();
    unknown_waits_ = spec_.unknown.has_value();
  }

  [[noreturn]] void refuse_unknown(std::string_view why) const {
    throw Error(ErrorCode::invalid_file, spec_.operation,
                fmt::format("the text has a character without token, and {}", why));
  }

  void put_unknown() {
    if (unknown_waits_) out_.push_back(static_cast<int32_t>(*spec_.unknown));
    unknown_waits_ = false;
  }

  const SpecTokenizer& tokenizer_;
  const TokenizerSpec& spec_;
  MergeLoop loop_;
  std::vector<int32_t>& out_;
  Progress& progress_;
  int64_t done_ = 0, told_ = 0;                                                  // bytes
  using Seen = std::unordered_map<std::string_view, std::pair<size_t, size_t>>;  // where in out_, how many
  Seen seen_, seen_parts_;                                                       // by text, by initial symbols
  std::deque<std::vector<int32_t>> long_words_;  // initial symbols; seen_parts_ looks into them
  std::deque<std::string> changed_;              // words that steps have changed; seen_ looks into them
  Unigram::Scratch unigram_;
  bool unknown_waits_ = false;  // an unknown character, which the next may join
};

std::vector<int32_t> SpecTokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() >= kLongestText) {
    throw Error(ErrorCode::unsupported, "tokenize", fmt::format("a text of {} bytes", text.size()),
                fmt::format("below {}", kLongestText));
  }
  if (const auto at = find_invalid_utf8(text)) {
    throw Error(ErrorCode::invalid_file, "tokenize", fmt::format("byte {} of the text is not UTF-8", *at));
  }
  std::vector<int32_t> ids;
  if (options.add_bos) ids.assign(spec_.prefix.begin(), spec_.prefix.end());

  const bool special = options.parse_special && !spec_.split_special;
  std::deque<std::string> texts;  // normalized; the encoder's cache looks into them
  Progress& progress = or_silent(options.progress);
  progress.begin("tokenize", std::ssize(text));
  Encoder encoder(*this, ids, progress);
  for (const auto& section : added_.split(text, special)) {
    if (section.token) {
      ids.push_back(static_cast<int32_t>(section.token->id));
      continue;
    }
    const bool is_first = section.text.data() == text.data();
    const std::string_view normalized =
        spec_.normalize.empty() ? section.text : texts.emplace_back(normalize(section.text));
    for (const auto& part : normalized_.split(normalized, special)) {
      if (part.token) {
        ids.push_back(static_cast<int32_t>(part.token->id));
      } else {
        encoder.words(part.text, is_first && part.text.data() == normalized.data());
      }
    }
  }
  progress.end();
  if (options.add_eos) ids.insert(ids.end(), spec_.suffix.begin(), spec_.suffix.end());
  return ids;
}

std::string SpecTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size()) {
      throw Error(ErrorCode::usage, "decode", fmt::format("id {}", id), fmt::format("0 to {}", vocab_size() - 1));
    }
    text += pieces_[static_cast<size_t>(id)];
  }
  if (spec_.strip_first_blank && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

}  // namespace mxq
