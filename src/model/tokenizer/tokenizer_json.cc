#include "model/tokenizer/tokenizer_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "format/strict_json.h"
#include "model/tokenizer/utf8.h"
#include "model/tokenizer/word_rules.h"
#include "mxq/error.h"

namespace mxq {

namespace {

using Json = nlohmann::json;

// Ids may leave gaps, but not take memory out of proportion to the file.
constexpr size_t kGaps = 65536;

// The file as it stands: the vocabulary and the merges, which are long, apart from the rest.
struct Document {
  Json rest;
  std::vector<std::pair<std::string, uint64_t>> vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;
  std::string not_ids;  // what is wrong with the vocabulary
};

class Reader {
 public:
  explicit Reader(const std::string& operation) : operation_(operation) {}

  Document read(std::string_view text) {
    walk_json(text, operation_, [this](JsonPath path, const JsonEvent& event) { handle(path, event); });
    if (!document_.rest.is_object()) invalid("no JSON object");
    if (open_pair_) invalid("a merge is not a pair of tokens");
    return std::move(document_);
  }

 private:
  [[noreturn]] void invalid(std::string given) const {
    throw Error(ErrorCode::invalid_file, operation_, std::move(given));
  }

  void handle(JsonPath path, const JsonEvent& event) {
    const bool in_model = path.size() >= 3 && path[0] == "model";
    if (in_model && path[1] == "vocab") {
      if (event.kind != JsonEvent::natural || path.size() != 3) {
        // Models of other types have other vocabularies; the type may come later in the file.
        if (document_.not_ids.empty()) {
          document_.not_ids = fmt::format("the id of token {} is not a number from 0 on", in_quotes(path[2]));
        }
        return;
      }
      document_.vocabulary.emplace_back(path[2], event.natural_value);
    } else if (in_model && path[1] == "merges") {
      merge(path, event);
    } else {
      keep(path, event);
    }
  }

  void merge(JsonPath path, const JsonEvent& event) {
    const size_t number = document_.merges.size();
    if (path.size() == 3 && event.kind == JsonEvent::string) {
      const size_t blank = event.text.find(' ', 1);
      if (blank == std::string_view::npos) {
        invalid(fmt::format("merge {} is one word, {}", number, in_quotes(event.text)));
      }
      document_.merges.emplace_back(event.text.substr(0, blank), event.text.substr(blank + 1));
    } else if (path.size() == 3 && event.kind == JsonEvent::array_begin) {
      pair_.clear();
      open_pair_ = true;
    } else if (path.size() == 4 && open_pair_ && event.kind == JsonEvent::string && pair_.size() < 2) {
      pair_.emplace_back(event.text);
    } else if (path.size() == 3 && open_pair_ && event.kind == JsonEvent::array_end && pair_.size() == 2) {
      document_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
      open_pair_ = false;
    } else {
      invalid(fmt::format("merge {} is not a pair of tokens", number));
    }
  }

  void keep(JsonPath path, const JsonEvent& event) {
    switch (event.kind) {
      case JsonEvent::null:
        return put(path, nullptr);
      case JsonEvent::boolean:
        return put(path, event.natural_value != 0);
      case JsonEvent::natural:
        return put(path, event.natural_value);
      case JsonEvent::number:
        return put(path, -1.5);  // no field of ours is of this kind; only that it is there counts
      case JsonEvent::string:
        return put(path, std::string(event.text));
      case JsonEvent::object_begin:
        open_.push_back(Json::object());
        return;
      case JsonEvent::array_begin:
        open_.push_back(Json::array());
        return;
      case JsonEvent::object_end:
      case JsonEvent::array_end:
        Json closed = std::move(open_.back());
        open_.pop_back();
        return put(path, std::move(closed));
    }
  }

  void put(JsonPath path, Json value) {
    if (open_.empty()) {
      document_.rest = std::move(value);
    } else if (open_.back().is_array()) {
      open_.back().push_back(std::move(value));
    } else {
      open_.back()[path.back()] = std::move(value);
    }
  }

  const std::string& operation_;
  Document document_;
  std::vector<Json> open_;  // objects and arrays that have not ended
  std::vector<std::string> pair_;
  bool open_pair_ = false;
};

class Builder {
 public:
  Builder(std::string operation, Document document) : document_(std::move(document)) {
    spec_.operation = std::move(operation);
  }

  TokenizerSpec build() {
    vocabulary();
    model();
    if (const Json* part = find(document_.rest, "normalizer")) normalizer(*part);
    if (const Json* part = find(document_.rest, "pre_tokenizer")) pre_tokenizer(*part);
    if (const Json* part = find(document_.rest, "decoder")) decoder(*part);
    if (const Json* part = find(document_.rest, "post_processor")) post_processor(*part);
    if (decodes_bytes_ != spec_.byte_level) {
      unsupported(fmt::format("the pre_tokenizer is {}ByteLevel, the decoder is {}", spec_.byte_level ? "" : "not ",
                              decodes_bytes_ ? "" : "not"));
    }
    return std::move(spec_);
  }

 private:
  [[noreturn]] void invalid(std::string given, std::string supported = {}) const {
    throw Error(ErrorCode::invalid_file, spec_.operation, std::move(given), std::move(supported));
  }
  [[noreturn]] void unsupported(std::string given, std::string supported = {}) const {
    throw Error(ErrorCode::unsupported, spec_.operation, std::move(given), std::move(supported));
  }

  // nullptr also for null.
  static const Json* find(const Json& object, const char* key) {
    if (!object.is_object()) return nullptr;
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
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

  std::optional<uint32_t> id_of(const std::string& token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

  void vocabulary() {
    uint64_t count = 0;
    const size_t limit = 2 * (document_.vocabulary.size() + added_tokens().size()) + kGaps;
    const auto check = [&](const std::string& token, uint64_t id) {
      if (id >= limit) invalid(fmt::format("token {} has id {}", in_quotes(token), id), fmt::format("below {}", limit));
      count = std::max(count, id + 1);
    };
    for (const auto& [token, id] : document_.vocabulary) check(token, id);
    for (const Json& added : added_tokens()) {
      const Json* id = find(added, "id");
      AddedToken token;
      token.content = text(added, "content");
      if (!id || !id->is_number_unsigned()) invalid(fmt::format("added token {} has no id", in_quotes(token.content)));
      check(token.content, id->get<uint64_t>());
      token.id = id->get<uint32_t>();
      token.special = flag(added, "special", false);
      token.normalized = flag(added, "normalized", !token.special);
      token.lstrip = flag(added, "lstrip", false);
      token.rstrip = flag(added, "rstrip", false);
      if (flag(added, "single_word", false)) {
        unsupported(fmt::format("added token {} is single_word", in_quotes(token.content)));
      }
      spec_.added.push_back(std::move(token));
    }
    spec_.tokens.resize(count);
    ids_.reserve(document_.vocabulary.size());
    for (auto& [token, id] : document_.vocabulary) {
      ids_.emplace(token, static_cast<uint32_t>(id));
      put(std::move(token), id);
    }
    for (const auto& token : spec_.added) {
      ids_.emplace(token.content, token.id);
      put(token.content, token.id);
    }
  }
  void put(std::string token, uint64_t id) {
    std::string& there = spec_.tokens[id];
    if (!there.empty() && there != token) {
      invalid(fmt::format("tokens {} and {} both have id {}", in_quotes(there), in_quotes(token), id));
    }
    there = std::move(token);
  }
  const Json::array_t& added_tokens() const {
    static const Json::array_t none;
    return find(document_.rest, "added_tokens") ? list(document_.rest, "added_tokens") : none;
  }

  void model() {
    const Json* model = find(document_.rest, "model");
    if (!model) invalid("'model' is missing");
    // Files of old have no type; what else has merges?
    if (const std::string kind = text(*model, "type", "BPE"); kind != "BPE") {
      unsupported(fmt::format("the model is {}", in_quotes(kind)), "BPE");
    }
    if (!document_.not_ids.empty()) invalid(document_.not_ids);
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!text(*model, key, "").empty()) unsupported(fmt::format("'{}' is {}", key, in_quotes(text(*model, key))));
    }
    if (const Json* dropout = find(*model, "dropout"); dropout && *dropout != 0u) unsupported("'dropout' is set");
    spec_.byte_fallback = flag(*model, "byte_fallback", false);
    spec_.fuse_unknown = flag(*model, "fuse_unk", false);
    spec_.ignore_merges = flag(*model, "ignore_merges", false);
    if (find(*model, "unk_token")) {
      const std::string unknown = text(*model, "unk_token");
      spec_.unknown = id_of(unknown);
      if (!spec_.unknown) invalid(fmt::format("the unknown token {} is not there", in_quotes(unknown)));
    }
    for (const auto& [left, right] : document_.merges) {
      const auto id = [&](const std::string& token) {
        const auto found = id_of(token);
        if (!found) {
          invalid(
              fmt::format("merge {} needs the token {}, which is not there", spec_.merges.size(), in_quotes(token)));
        }
        return *found;
      };
      spec_.merges.push_back({id(left), id(right), id(left + right), static_cast<uint32_t>(spec_.merges.size())});
    }
  }

  void normalizer(const Json& part) {
    const std::string kind = type(part);
    if (kind == "Sequence") {
      for (const Json& step : list(part, "normalizers")) normalizer(step);
    } else if (kind == "Prepend") {
      spec_.normalize.push_back({NormalizeStep::prepend, {}, text(part, "prepend")});
    } else if (kind == "Replace") {
      auto [from, literal] = pattern(part);
      if (!literal) unsupported("the normalizer replaces a regular expression", "a string");
      spec_.normalize.push_back({NormalizeStep::replace, std::move(from), text(part, "content")});
    } else if (kind == "NFC") {
      spec_.normalize.push_back({NormalizeStep::nfc, {}, {}});
    } else {
      unsupported(fmt::format("the normalizer {}", in_quotes(kind)), "Sequence, Prepend, Replace, NFC");
    }
  }

  void pre_tokenizer(const Json& part) {
    const std::string kind = type(part);
    if (kind == "Sequence") {
      for (const Json& step : list(part, "pretokenizers")) pre_tokenizer(step);
      return;
    }
    if (spec_.byte_level) unsupported(fmt::format("the pre_tokenizer {} after ByteLevel", in_quotes(kind)));
    if (kind == "Split") {
      auto [what, literal] = pattern(part);
      spec_.split.push_back({std::move(what), literal, behavior(part), flag(part, "invert", false)});
    } else if (kind == "Digits") {
      spec_.split.push_back({.pattern = flag(part, "individual_digits", false) ? kSingleDigits : R"(\p{N}+)"});
    } else if (kind == "ByteLevel") {
      if (flag(part, "add_prefix_space", true))
        unsupported("the pre_tokenizer ByteLevel has add_prefix_space", "false");
      if (flag(part, "use_regex", true)) spec_.split.push_back({.pattern = kGpt2Words});
      spec_.byte_level = true;
    } else if (kind == "Metaspace") {
      metaspace(part);
    } else {
      unsupported(fmt::format("the pre_tokenizer {}", in_quotes(kind)),
                  "Sequence, Split, Digits, ByteLevel, Metaspace");
    }
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
    if (!spec_.split.empty()) unsupported("the pre_tokenizer Metaspace after another", "Metaspace as the first");
    const std::string mark = text(part, "replacement"), scheme = prepend_scheme(part);
    spec_.normalize.push_back({NormalizeStep::replace, " ", mark});
    if (scheme != "never") {
      const auto kind = scheme == "first" ? NormalizeStep::prepend_if_first : NormalizeStep::prepend_if_missing;
      spec_.normalize.push_back({kind, {}, mark});
    }
    if (flag(part, "split", true)) spec_.split.push_back({mark, true, SplitBehavior::merged_with_next});
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
      if (!literal || text(part, "content") != " ") unsupported("the decoder replaces other things than blanks");
      spec_.space_mark = std::move(from);
    } else if (kind == "Strip") {
      const Json *start = find(part, "start"), *stop = find(part, "stop");
      if (text(part, "content") != " " || !start || *start != 1u || (stop && *stop != 0u)) {
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
    if (kind == "Sequence") {
      for (const Json& step : list(part, "processors")) post_processor(step);
    } else if (kind == "TemplateProcessing") {
      template_processing(part);
    } else if (kind != "ByteLevel") {
      unsupported(fmt::format("the post_processor {}", in_quotes(kind)), "Sequence, TemplateProcessing, ByteLevel");
    }
  }

  // What stands before the text; nothing may stand after it.
  void template_processing(const Json& part) {
    bool text_seen = false;
    for (const Json& item : list(part, "single")) {
      if (find(item, "Sequence")) {
        text_seen = true;
        continue;
      }
      const Json* token = find(item, "SpecialToken");
      if (!token) invalid("a part of the post_processor's template is neither Sequence nor SpecialToken");
      const std::string name = text(*token, "id");
      if (text_seen || spec_.adds_bos) {
        unsupported(fmt::format("the post_processor adds {}", in_quotes(name)), "one token before the text");
      }
      spec_.bos = id_of(name);
      if (!spec_.bos) invalid(fmt::format("the post_processor's token {} is not there", in_quotes(name)));
      spec_.adds_bos = true;
    }
  }

  Document document_;
  TokenizerSpec spec_;
  std::unordered_map<std::string, uint32_t> ids_;
  bool decodes_bytes_ = false;
};

// "bos_token" and "eos_token" of tokenizer_config.json: a string, or an object with "content".
void read_config(std::string_view config, const std::string& source, TokenizerSpec& spec) {
  std::string bos, eos;
  walk_json(config, "read " + source, [&](JsonPath path, const JsonEvent& event) {
    if (event.kind != JsonEvent::string || path.empty()) return;
    if (path.size() > 2 || (path.size() == 2 && path[1] != "content")) return;
    if (path[0] == "bos_token") bos = event.text;
    if (path[0] == "eos_token") eos = event.text;
  });
  for (uint32_t id = 0; id < spec.tokens.size(); ++id) {
    if (spec.tokens[id].empty()) continue;
    if (!spec.bos && spec.tokens[id] == bos) spec.bos = id;
    if (!spec.eos && spec.tokens[id] == eos) spec.eos = id;
  }
}

}  // namespace

TokenizerSpec parse_tokenizer_json(std::string_view text, const std::string& source, std::string_view config,
                                   const std::string& config_source) {
  std::string operation = "read " + source;
  Document document = Reader(operation).read(text);
  TokenizerSpec spec = Builder(std::move(operation), std::move(document)).build();
  if (!config.empty()) read_config(config, config_source, spec);
  return spec;
}

}  // namespace mxq
