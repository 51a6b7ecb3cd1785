#include "model/tokenizer/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <tuple>
#include <utility>

#include "base/utf8.h"
#include "model/tokenizer/tokenizer_document.h"
#include "model/tokenizer/word_rules.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

using Json = JsonTree;

// Ids may leave gaps, but not take memory out of proportion to the file.
constexpr size_t kGaps = 65536;

class Builder {
 public:
  Builder(std::string operation, TokenizerDocument document, const TokenizerSideFiles& files)
      : document_(std::move(document)),
        spec_(spec_of(std::move(operation))),
        file_tokens_(read_added_tokens()),
        config_(files, file_tokens_) {}

  TokenizerSpec build() {
    only(document_.rest, "the file",
         {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
          "decoder", "model"});
    if (const std::string version = text(document_.rest, "version", "1.0"); version != "1.0") {
      unsupported(fmt::format("version {}", in_quotes(version)), "1.0");
    }
    check_kind();
    vocabulary();
    if (unigram_) {
      unigram_model();
    } else {
      bpe_model();
    }
    if (const Json* part = find(document_.rest, "normalizer")) normalizer(*part);
    if (const Json* part = find(document_.rest, "pre_tokenizer")) pre_tokenizer(*part, true);
    if (letters_) spec_.words.push_back({.kind = WordStep::from_letters});
    if (unigram_ && spec_.byte_level) unsupported("the model is Unigram, the pre_tokenizer ByteLevel");
    if (const Json* part = find(document_.rest, "decoder")) decoder(*part);
    if (config_.has_template()) {
      class_template();
    } else if (const Json* part = find(document_.rest, "post_processor")) {
      post_processor(*part);
    }
    check_respaced();
    if (decodes_bytes_ != spec_.byte_level) {
      unsupported(fmt::format("the pre_tokenizer is {}ByteLevel, the decoder is {}", spec_.byte_level ? "" : "not ",
                              decodes_bytes_ ? "" : "not"));
    }
    spec_.split_special = config_.splits_special_tokens();
    spec_.bos = spec_.prefix.size() == 1 ? std::optional(spec_.prefix.front()) : named(config_.bos());
    spec_.eos = named(config_.eos());
    spec_.padding = named(config_.padding());
    spec_.named_unknown = named(config_.unknown());
    return std::move(spec_);
  }

 private:
  [[noreturn]] void invalid(std::string given, std::string supported = {}) const {
    throw Error(ErrorCode::invalid_file, spec_.operation, std::move(given), std::move(supported));
  }
  [[noreturn]] void unsupported(std::string given, std::string supported = {}) const {
    throw Error(ErrorCode::unsupported, spec_.operation, std::move(given), std::move(supported));
  }

  static const Json* find(const Json& object, const char* key) { return find_value(object, key); }
  // What a later version may mean by another field is not known.
  void only(const Json& object, const std::string& what, std::initializer_list<std::string_view> fields) const {
    if (!object.is_object()) return;
    for (const auto& [name, value] : object.items()) {
      if (std::find(fields.begin(), fields.end(), name) == fields.end()) {
        unsupported(fmt::format("{} has the field {}", what, in_quotes(name)));
      }
    }
  }
  void only_of(const Json& part, const char* what, std::initializer_list<std::string_view> fields) const {
    std::vector<std::string_view> known(fields);
    for (const auto& [name, value] : part.items()) {
      if (name != "type" && std::find(known.begin(), known.end(), name) == known.end()) {
        unsupported(fmt::format("the {} {} has the field {}", what, type(part), in_quotes(name)));
      }
    }
  }
  bool flag(const Json& object, const char* key, bool otherwise) const {
    const Json* value = find(object, key);
    if (!value) return otherwise;
    if (!value->is_boolean()) invalid(fmt::format("'{}' is not true or false", key));
    return value->get<bool>();
  }
  std::string text(const Json& object, const char* key, std::optional<std::string> otherwise = {}) const {
    const Json* value = find(object, key);
    if (!value && otherwise) return *otherwise;
    if (!value || !value->is_string()) invalid(fmt::format("'{}' is not a string", key));
    return value->get<std::string>();
  }
  std::string type(const Json& part) const { return text(part, "type"); }
  const Json::array_t& list(const Json& object, const char* key) const {
    const Json* value = find(object, key);
    if (!value || !value->is_array()) invalid(fmt::format("'{}' is not a list", key));
    return value->get_ref<const Json::array_t&>();
  }
  // A pattern {"String": "..."} or {"Regex": "..."}.
  std::pair<std::string, bool> pattern(const Json& part) const {
    const Json* value = find(part, "pattern");
    if (!value) invalid("'pattern' is missing");
    if (find(*value, "String")) return {text(*value, "String"), true};
    return {text(*value, "Regex"), false};
  }

  std::optional<uint32_t> named(const std::optional<std::string>& token) const {
    return token ? added_.id_of(*token) : std::nullopt;
  }

  void vocabulary() {
    uint64_t count = document_.scores.size();
    for (size_t id = 0; id < document_.scores.size(); ++id) {
      const std::string& token = document_.scores[id].first;
      if (!ids_.emplace(token, static_cast<uint32_t>(id)).second) {
        invalid(fmt::format("token {} of the vocabulary, {}, is there twice", id, in_quotes(token)));
      }
    }
    const size_t limit = 2 * (document_.vocabulary.size() + file_tokens_.size()) + kGaps;
    ids_.reserve(document_.vocabulary.size());
    for (const auto& [token, id] : document_.vocabulary) {
      if (id >= limit) invalid(fmt::format("token {} has id {}", in_quotes(token), id), fmt::format("below {}", limit));
      count = std::max(count, id + 1);
      ids_.emplace(token, static_cast<uint32_t>(id));
    }
    for (const AddedToken& token : file_tokens_) added_.add(token);
    config_.add_tokens(added_);
    spec_.added = added_.tokens();

    for (const AddedToken& token : spec_.added) count = std::max<uint64_t>(count, uint64_t{token.id} + 1);
    spec_.tokens.resize(count);
    spec_.only_added.resize(count);
    for (auto& [token, id] : document_.vocabulary) put(std::move(token), id);
    for (size_t id = 0; id < document_.scores.size(); ++id) put(document_.scores[id].first, id);
    for (const AddedToken& token : spec_.added) {
      put(token.content, token.id);
      spec_.only_added[token.id] = !ids_.contains(token.content);
    }
  }
  AddedToken added_token(const Json& part) const {
    const Json* id = find(part, "id");
    AddedToken token;
    token.content = text(part, "content");
    only(part, "added token " + in_quotes(token.content),
         {"id", "content", "special", "normalized", "lstrip", "rstrip", "single_word"});
    if (!id || !id->is_number_unsigned() || id->get<uint64_t>() > INT32_MAX) {
      invalid(fmt::format("added token {} has no id", in_quotes(token.content)));
    }
    token.id = id->get<uint32_t>();
    token.special = flag(part, "special", false);
    token.normalized = flag(part, "normalized", !token.special);
    token.lstrip = flag(part, "lstrip", false);
    token.rstrip = flag(part, "rstrip", false);
    token.single_word = flag(part, "single_word", false);
    return token;
  }
  void put(std::string token, uint64_t id) {
    std::string& there = spec_.tokens[id];
    if (!there.empty() && there != token) {
      invalid(fmt::format("tokens {} and {} both have id {}", in_quotes(there), in_quotes(token), id));
    }
    there = std::move(token);
  }
  std::vector<AddedToken> read_added_tokens() const {
    std::vector<AddedToken> result;
    if (!find(document_.rest, "added_tokens")) return result;
    for (const Json& part : list(document_.rest, "added_tokens")) result.push_back(added_token(part));
    return result;
  }

  /// Before the vocabulary is believed.
  void check_kind() {
    const Json* model = find(document_.rest, "model");
    if (!model) invalid("'model' is missing");
    // Files of old have no type; what else has merges, or a list of scores?
    const std::string kind = text(*model, "type", document_.scores_listed ? "Unigram" : "BPE");
    if (kind != "BPE" && kind != "Unigram")
      unsupported(fmt::format("the model is {}", in_quotes(kind)), "BPE, Unigram");
    unigram_ = kind == "Unigram";
    if (unigram_ != document_.scores_listed && find(*model, "vocab")) {
      invalid(fmt::format("the vocabulary of {} is a {}", kind, unigram_ ? "map" : "list"),
              unigram_ ? "a list" : "a map");
    }
    const std::string& wrong = unigram_ ? document_.not_scores : document_.not_ids;
    if (!wrong.empty()) invalid(wrong);
  }

  void unigram_model() {
    const Json* model = find(document_.rest, "model");
    only(*model, "the model", {"type", "unk_id", "vocab", "byte_fallback"});
    if (document_.scores.empty()) invalid("the model has no tokens");
    for (const auto& [token, score] : document_.scores) spec_.scores.push_back(score);
    spec_.byte_fallback = flag(*model, "byte_fallback", false);
    if (const Json* unknown = find(*model, "unk_id")) {
      if (!unknown->is_number_unsigned() || unknown->get<uint64_t>() >= spec_.scores.size()) {
        invalid(fmt::format("'unk_id' is {}", unknown->dump()), fmt::format("an id below {}", spec_.scores.size()));
      }
      spec_.unknown = unknown->get<uint32_t>();
    }
  }

  void bpe_model() {
    const Json* model = find(document_.rest, "model");
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!text(*model, key, "").empty()) unsupported(fmt::format("'{}' is {}", key, in_quotes(text(*model, key))));
    }
    only(*model, "the model",
         {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
          "byte_fallback", "ignore_merges", "vocab", "merges"});
    if (const Json* dropout = find(*model, "dropout")) {
      if (!dropout->is_number()) invalid("'dropout' is not a number");
      if (dropout->get<double>() != 0) {
        unsupported(fmt::format("'dropout' is {}: ids by chance", dropout->get<double>()), "0");
      }
    }
    spec_.byte_fallback = flag(*model, "byte_fallback", false);
    spec_.fuse_unknown = flag(*model, "fuse_unk", false);
    spec_.ignore_merges = flag(*model, "ignore_merges", false);
    if (find(*model, "unk_token")) {
      const std::string unknown = text(*model, "unk_token");
      const auto found = ids_.find(unknown);
      if (found == ids_.end()) {
        spec_.unknown_missing = unknown;  // matters to the first text that needs it
      } else {
        spec_.unknown = found->second;
      }
    }
    for (const auto& [left, right] : document_.merges) {
      const auto id = [&](const std::string& token) {
        const auto found = ids_.find(token);
        if (found == ids_.end()) {
          invalid(
              fmt::format("merge {} needs the token {}, which is not there", spec_.merges.size(), in_quotes(token)));
        }
        return found->second;
      };
      spec_.merges.push_back({id(left), id(right), id(left + right), static_cast<uint32_t>(spec_.merges.size())});
    }
    keep_last_merges();
  }

  // Of merges of the same two tokens the last counts.
  void keep_last_merges() {
    auto& merges = spec_.merges;
    const auto halves = [](const BpeMerge& merge) { return std::pair(merge.left, merge.right); };
    std::stable_sort(merges.begin(), merges.end(), [&](const BpeMerge& a, const BpeMerge& b) {
      return std::tuple(halves(a), b.rank) < std::tuple(halves(b), a.rank);
    });
    const auto same = [&](const BpeMerge& a, const BpeMerge& b) { return halves(a) == halves(b); };
    merges.erase(std::unique(merges.begin(), merges.end(), same), merges.end());
    std::sort(merges.begin(), merges.end(), [](const BpeMerge& a, const BpeMerge& b) { return a.rank < b.rank; });
  }

  void normalizer(const Json& part) {
    const std::string kind = type(part);
    const auto fields = [&](std::initializer_list<std::string_view> names) { only_of(part, "normalizer", names); };
    const auto step = [&](NormalizeStep::Kind what) { spec_.normalize.push_back({what, {}, {}}); };
    if (kind == "Sequence") {
      fields({"normalizers"});
      for (const Json& item : list(part, "normalizers")) normalizer(item);
    } else if (kind == "Prepend") {
      fields({"prepend"});
      spec_.normalize.push_back({NormalizeStep::prepend, {}, text(part, "prepend")});
    } else if (kind == "Replace") {
      fields({"pattern", "content"});
      auto [from, literal] = pattern(part);
      if (from.empty()) unsupported("the normalizer Replace has an empty pattern");
      const auto what = literal ? NormalizeStep::replace : NormalizeStep::replace_regex;
      spec_.normalize.push_back({what, std::move(from), text(part, "content")});
    } else if (kind == "Strip") {
      fields({"strip_left", "strip_right"});
      if (flag(part, "strip_left", true)) step(NormalizeStep::strip_left);
      if (flag(part, "strip_right", true)) step(NormalizeStep::strip_right);
    } else {
      constexpr std::array<std::pair<std::string_view, NormalizeStep::Kind>, 7> plain{
          {{"NFC", NormalizeStep::nfc},
           {"NFD", NormalizeStep::nfd},
           {"NFKC", NormalizeStep::nfkc},
           {"NFKD", NormalizeStep::nfkd},
           {"Nmt", NormalizeStep::nmt},
           {"Lowercase", NormalizeStep::lower_case},
           {"StripAccents", NormalizeStep::without_marks}}};
      const auto found = std::find_if(plain.begin(), plain.end(), [&](const auto& p) { return p.first == kind; });
      if (found == plain.end()) {
        unsupported(fmt::format("the normalizer {}", in_quotes(kind)),
                    "Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Nmt, Lowercase, StripAccents, Strip");
      }
      fields({});
      step(found->second);
    }
  }

  void split(std::string pattern, SplitBehavior behavior = SplitBehavior::isolated, bool invert = false,
             bool literal = false) {
    spec_.words.push_back({.rule = {std::move(pattern), literal, behavior, invert}});
  }

  void pre_tokenizer(const Json& part, bool alone) {
    const std::string kind = type(part);
    const auto fields = [&](std::initializer_list<std::string_view> names) { only_of(part, "pre_tokenizer", names); };
    if (kind == "Sequence") {
      fields({"pretokenizers"});
      for (const Json& step : list(part, "pretokenizers")) pre_tokenizer(step, false);
      return;
    }
    if (spec_.byte_level) {
      if (kind != "Split" && kind != "Digits" && kind != "Punctuation") {
        unsupported(fmt::format("the pre_tokenizer {} after ByteLevel", in_quotes(kind)), "Split, Digits, Punctuation");
      }
      if (!letters_) spec_.words.push_back({.kind = WordStep::to_letters});
      letters_ = true;
    }
    if (kind == "Split") {
      fields({"pattern", "behavior", "invert"});
      auto [what, literal] = pattern(part);
      split(std::move(what), behavior(part), flag(part, "invert", false), literal);
    } else if (kind == "Digits") {
      fields({"individual_digits"});
      split(flag(part, "individual_digits", false) ? kSingleDigits : R"(\p{N}+)");
    } else if (kind == "Punctuation") {
      fields({"behavior"});
      split(kPunctuation, find(part, "behavior") ? behavior(part) : SplitBehavior::isolated);
    } else if (kind == "ByteLevel") {
      fields({"add_prefix_space", "trim_offsets", "use_regex"});
      byte_level(part, alone);
    } else if (kind == "Metaspace") {
      fields({"replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
      metaspace(part);
    } else if (kind == "Whitespace") {
      fields({});
      // By Rust's regular expressions, whose \w has two joiners more and six numbers less.
      split(R"([[\w&&[^\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}]]\x{200c}\x{200d}]+|)"
            R"([^[\w&&[^\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}]]\s\x{200c}\x{200d}]+)",
            SplitBehavior::removed, true);
    } else if (kind == "WhitespaceSplit") {
      fields({});
      split(R"(\s)", SplitBehavior::removed);
    } else if (kind == "CharDelimiterSplit") {
      fields({"delimiter"});
      split(text(part, "delimiter"), SplitBehavior::removed, false, true);
    } else {
      unsupported(fmt::format("the pre_tokenizer {}", in_quotes(kind)),
                  "Sequence, Split, Digits, Punctuation, ByteLevel, Metaspace, Whitespace, WhitespaceSplit, "
                  "CharDelimiterSplit");
    }
  }

  void byte_level(const Json& part, bool alone) {
    bool prefix = flag(part, "add_prefix_space", true);
    if (alone) prefix = config_.byte_level_prefix_space().value_or(prefix);
    if (prefix || config_.prefix_space_everywhere()) spec_.words.push_back({WordStep::prepend, {}, " "});
    if (flag(part, "use_regex", true)) split(kGpt2Words);
    spec_.byte_level = true;
  }

  SplitBehavior behavior(const Json& part) const {
    const std::string name = text(part, "behavior");
    if (name == "Isolated") return SplitBehavior::isolated;
    if (name == "Removed") return SplitBehavior::removed;
    if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
    if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
    if (name == "Contiguous") return SplitBehavior::contiguous;
    invalid(fmt::format("the behavior {}", in_quotes(name)),
            "Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous");
  }

  // "always", "first" or "never"; files of old say it with add_prefix_space.
  std::string prepend_scheme(const Json& part) const {
    const std::string scheme = text(part, "prepend_scheme", flag(part, "add_prefix_space", true) ? "always" : "never");
    if (scheme != "always" && scheme != "first" && scheme != "never") {
      invalid(fmt::format("the prepend_scheme {}", in_quotes(scheme)), "always, first, never");
    }
    return scheme;
  }

  void metaspace(const Json& part) {
    const std::string mark = text(part, "replacement"), scheme = prepend_scheme(part);
    if (mark.empty() || character_length(mark) != mark.size()) {
      invalid(fmt::format("the replacement {}", in_quotes(mark)), "one character");
    }
    // The package counts from the text as it was given.
    const auto strips = [](const NormalizeStep& step) { return step.kind == NormalizeStep::strip_left; };
    if (scheme == "first" && std::any_of(spec_.normalize.begin(), spec_.normalize.end(), strips)) {
      unsupported("the pre_tokenizer Metaspace prepends first, after the normalizer Strip");
    }
    spec_.words.push_back({WordStep::mark_blanks, {}, mark});
    if (scheme != "never") {
      spec_.words.push_back({scheme == "first" ? WordStep::prepend_first : WordStep::prepend, {}, mark});
    }
    if (flag(part, "split", true)) split(mark, SplitBehavior::merged_with_next, false, true);
  }

  // A Llama class that is told about add_prefix_space makes both steps anew from tokenizer.model, by these rules.
  void check_respaced() const {
    const auto respaced = config_.respaced();
    if (!respaced || spec_.byte_level) return;
    const std::string mark(kSpaceMark);
    std::vector<NormalizeStep> normalize;
    std::vector<WordStep> words;
    if (respaced->legacy) {
      if (respaced->prefix) normalize.push_back({NormalizeStep::prepend, {}, mark});
      normalize.push_back({NormalizeStep::replace, " ", mark});
    } else {
      words.push_back({WordStep::mark_blanks, {}, mark});
      if (respaced->prefix) words.push_back({WordStep::prepend_first, {}, mark});
    }
    if (normalize == spec_.normalize && words == spec_.words) return;
    throw Error(ErrorCode::unsupported, config_.operation(),
                fmt::format("'add_prefix_space' is {} and 'legacy' is {}, and tokenizer.json puts spaces otherwise",
                            respaced->prefix, respaced->legacy),
                "settings that agree");
  }

  void decoder(const Json& part) {
    const std::string kind = type(part);
    if (kind == "Sequence") {
      for (const Json& step : list(part, "decoders")) decoder(step);
    } else if (kind == "ByteLevel") {
      decodes_bytes_ = true;
    } else if (kind == "Metaspace") {
      spec_.space_mark = text(part, "replacement");
      spec_.strip_first_blank = prepend_scheme(part) != "never";
    } else if (kind == "Replace") {
      auto [from, literal] = pattern(part);
      literal = literal || from.find_first_of("\\^$.|?*+()[]{}") == std::string::npos;
      if (!literal && from == R"((?<!\n)^ )" && text(part, "content").empty()) {
        spec_.strip_first_blank = true;
        return;
      }
      if (!literal || text(part, "content") != " ") unsupported("the decoder replaces other things than blanks");
      spec_.space_mark = std::move(from);
    } else if (kind == "Strip") {
      const Json *start = find(part, "start"), *stop = find(part, "stop");
      if (text(part, "content") != " " || !start || *start != 1 || (stop && *stop != 0)) {
        unsupported("the decoder strips other things than one blank at the beginning");
      }
      spec_.strip_first_blank = true;
    } else if (kind != "ByteFallback" && kind != "Fuse") {
      unsupported(fmt::format("the decoder {}", in_quotes(kind)),
                  "Sequence, ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip");
    }
  }

  void post_processor(const Json& part) {
    const std::string kind = type(part);
    const auto fields = [&](std::initializer_list<std::string_view> names) { only_of(part, "post_processor", names); };
    if (kind == "Sequence") {
      fields({"processors"});
      for (const Json& step : list(part, "processors")) post_processor(step);
    } else if (kind == "TemplateProcessing") {
      fields({"single", "pair", "special_tokens"});
      template_processing(part);
    } else if (kind == "BertProcessing" || kind == "RobertaProcessing") {
      fields({"sep", "cls", "trim_offsets", "add_prefix_space"});
      surround({pair_id(part, "cls")}, {pair_id(part, "sep")});
    } else if (kind != "ByteLevel") {
      unsupported(fmt::format("the post_processor {}", in_quotes(kind)),
                  "Sequence, TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel");
    }
  }

  // Post-processors surround what those before them made.
  void surround(std::vector<uint32_t> before, const std::vector<uint32_t>& behind) {
    for (const auto* ids : {&std::as_const(before), &behind}) {
      for (const uint32_t id : *ids) {
        if (id >= spec_.tokens.size()) {
          invalid(fmt::format("the post_processor adds the id {}", id), fmt::format("below {}", spec_.tokens.size()));
        }
      }
    }
    before.insert(before.end(), spec_.prefix.begin(), spec_.prefix.end());
    spec_.prefix = std::move(before);
    spec_.suffix.insert(spec_.suffix.end(), behind.begin(), behind.end());
  }

  uint32_t id_number(const Json& value) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > INT32_MAX) {
      invalid("an id of the post_processor is not a number from 0 on");
    }
    return value.get<uint32_t>();
  }
  // ["[CLS]", 101]
  uint32_t pair_id(const Json& part, const char* key) const {
    const auto& pair = list(part, key);
    if (pair.size() != 2) invalid(fmt::format("'{}' is not a token and its id", key));
    return id_number(pair[1]);
  }

  // The ids under a name, which need not be those of the token of that name.
  std::vector<uint32_t> template_ids(const Json& part, const std::string& name) const {
    const Json* tokens = find(part, "special_tokens");
    const Json* token = tokens ? find_value(*tokens, name) : nullptr;
    if (!token) invalid(fmt::format("the post_processor's token {} is not there", in_quotes(name)));
    std::vector<uint32_t> ids;
    for (const Json& id : list(*token, "ids")) ids.push_back(id_number(id));
    return ids;
  }

  void template_processing(const Json& part) {
    std::vector<uint32_t> before, behind;
    bool text_seen = false;
    for (const Json& item : list(part, "single")) {
      if (const Json* sequence = find(item, "Sequence")) {
        if (text_seen || text(*sequence, "id") != "A") {
          unsupported("the post_processor's template for one text has another", "A once");
        }
        text_seen = true;
        continue;
      }
      const Json* token = find(item, "SpecialToken");
      if (!token) invalid("a part of the post_processor's template is neither Sequence nor SpecialToken");
      const auto ids = template_ids(part, text(*token, "id"));
      auto& side = text_seen ? behind : before;
      side.insert(side.end(), ids.begin(), ids.end());
    }
    if (!text_seen) invalid("the post_processor's template for one text has no text");
    surround(std::move(before), behind);
  }

  // Of a class that takes no notice of the file's post_processor.
  void class_template() {
    const auto id = [&](const std::optional<std::string>& token) {
      const auto found = named(token);
      if (!found) invalid(fmt::format("the token {} is not there", in_quotes(token.value_or(""))));
      return *found;
    };
    if (config_.adds_bos()) spec_.prefix = {id(config_.bos())};
    if (config_.adds_eos()) spec_.suffix = {id(config_.eos())};
  }

  TokenizerDocument document_;
  static TokenizerSpec spec_of(std::string operation) {
    TokenizerSpec spec;
    spec.operation = std::move(operation);
    return spec;
  }

  TokenizerSpec spec_;
  std::vector<AddedToken> file_tokens_;  // with the ids that the file gives them
  TokenizerConfig config_;
  TokenIds ids_;  // the model's
  AddedVocabulary added_{ids_};
  bool unigram_ = false;
  bool decodes_bytes_ = false;
  bool letters_ = false;  // the words so far are letters of the byte alphabet
};

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view text, const std::string& source, const TokenizerSideFiles& files) {
  std::string operation = "read " + source;
  TokenizerDocument document = read_tokenizer_document(text, operation);
  return Builder(std::move(operation), std::move(document), files).build();
}

}  // namespace mxq
