#include "model/tokenizer_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer_vocabulary.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

using Json = nlohmann::ordered_json;

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json sequence(const char* of, Json items) {
  return {{"type", "Sequence"}, {of, std::move(items)}};
}

const char* behavior_name(SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::isolated:
      return "Isolated";
    case SplitBehavior::removed:
      return "Removed";
    case SplitBehavior::merged_with_previous:
      return "MergedWithPrevious";
    case SplitBehavior::merged_with_next:
      return "MergedWithNext";
    case SplitBehavior::contiguous:
      return "Contiguous";
  }
  return "";
}

Json split_words(const WordCut& cut) {
  const std::string_view pattern = cut.pattern;
  const char* behavior = behavior_name(cut.behavior);
  if (pattern == kPunctuation) return {{"type", "Punctuation"}, {"behavior", behavior}};
  if (pattern == kSingleDigits) return {{"type", "Digits"}, {"individual_digits", true}};
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", behavior}, {"invert", false}};
}

// The pre-tokenizer of byte-level BPE: ByteLevel stands before the cuts of letters, or last.
Json pre_tokenizer(const WordRule& rule) {
  Json steps = Json::array();
  bool letters = false;
  for (size_t i = 0; i < rule.cuts.size() && rule.cuts[i].pattern != nullptr; ++i) {
    const bool last_of_text =
        i + 1 == rule.cuts.size() || rule.cuts[i + 1].pattern == nullptr || rule.cuts[i + 1].of_letters;
    if (!letters && last_of_text) {
      letters = true;
      const bool gpt2 = std::string_view(rule.cuts[i].pattern) == kGpt2Words;
      if (!gpt2) steps.push_back(split_words(rule.cuts[i]));
      steps.push_back(byte_level(gpt2));
    } else {
      steps.push_back(split_words(rule.cuts[i]));
    }
  }
  return steps.size() == 1 ? steps.front() : sequence("pretokenizers", std::move(steps));
}

// One object of added_tokens: matched whole, before anything else looks at the text.
Json added_token(std::string_view content, bool special) {
  return {{"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},    {"normalized", false},  {"special", special}};
}

bool is_added(TokenType type) {
  return type == TokenType::control || type == TokenType::unknown || type == TokenType::user_defined;
}
bool is_special(TokenType type) {
  return type != TokenType::user_defined;
}

class Builder {
 public:
  explicit Builder(const GgufFile& file) : file_(file), vocabulary_(read_vocabulary(file)) {
    bos_ = vocabulary_.special(file, "tokenizer.ggml.bos_token_id");
    eos_ = vocabulary_.special(file, "tokenizer.ggml.eos_token_id");
    unknown_ = vocabulary_.special(file, "tokenizer.ggml.unknown_token_id");
    padding_ = vocabulary_.special(file, "tokenizer.ggml.padding_token_id");
  }

  TokenizerFiles build() {
    const std::string model = file_.get_string("tokenizer.ggml.model");
    const bool has_merges = model == "gpt2" || model == "gemma4";
    const char* merges = has_merges ? "tokenizer.ggml.merges" : model == "llama" ? "tokenizer.ggml.scores" : nullptr;
    if (merges && !file_.find(merges)) {
      result_.notes.push_back(fmt::format("no tokenizer.json: the file has no {}", merges));
    } else if (has_merges) {
      bpe_with_rule();
    } else if (model == "llama") {
      adds_bos_ = file_.find_bool("tokenizer.ggml.add_bos_token").value_or(true);
      sentencepiece_bpe(file_.find_bool("tokenizer.ggml.add_space_prefix").value_or(true),
                        merges_from_scores(file_, vocabulary_));
    } else {
      result_.notes.push_back(fmt::format(
          "no tokenizer.json: tokenizer.ggml.model is {} (supported: gpt2, gemma4, llama)", in_quotes(model)));
    }
    result_.files["special_tokens_map.json"] = special_tokens().dump(2) + "\n";
    result_.files["tokenizer_config.json"] = tokenizer_config().dump(2, ' ', false) + "\n";
    return std::move(result_);
  }

 private:
  void bpe_with_rule() {
    WordRule rule;
    try {
      rule = named_word_rule(file_, "no tokenizer.json");
    } catch (const Error& error) {
      if (error.code() != ErrorCode::unsupported) throw;
      result_.notes.emplace_back(error.what());
      return;
    }
    adds_bos_ = file_.find_bool("tokenizer.ggml.add_bos_token").value_or(rule.adds_bos);
    if (!rule.byte_level) return sentencepiece_bpe(false, read_merges(file_, vocabulary_));
    const Json model{{"type", "BPE"},
                     {"dropout", nullptr},
                     {"unk_token", nullptr},
                     {"continuing_subword_prefix", nullptr},
                     {"end_of_word_suffix", nullptr},
                     {"fuse_unk", false},
                     {"byte_fallback", false},
                     {"ignore_merges", rule.ignore_merges}};
    const Json normalizer = rule.normal == WordRule::as_it_is
                                ? Json(nullptr)
                                : Json{{"type", rule.normal == WordRule::nfc ? "NFC" : "NFKC"}};
    write_tokenizer(normalizer, pre_tokenizer(rule), byte_level(true), model, read_merges(file_, vocabulary_));
  }

  void sentencepiece_bpe(bool prefix, const std::vector<Merge>& merges) {
    const Json mark{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpaceMark}};
    const Json prepend{{"type", "Prepend"}, {"prepend", kSpaceMark}};
    const Json normalizer = sequence("normalizers", prefix ? Json::array({prepend, mark}) : Json::array({mark}));
    Json steps = Json::array({{{"type", "Replace"}, {"pattern", {{"String", kSpaceMark}}}, {"content", " "}},
                              {{"type", "ByteFallback"}},
                              {{"type", "Fuse"}}});
    if (prefix) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    const Json unknown = unknown_ ? Json(vocabulary_.tokens[*unknown_]) : Json(nullptr);
    const Json model{{"type", "BPE"},
                     {"dropout", nullptr},
                     {"unk_token", unknown},
                     {"continuing_subword_prefix", nullptr},
                     {"end_of_word_suffix", nullptr},
                     {"fuse_unk", true},
                     {"byte_fallback", true},
                     {"ignore_merges", false}};
    write_tokenizer(normalizer, nullptr, sequence("decoders", std::move(steps)), model, merges);
  }

  // <s> A, <s> A <s> B where the model wants it.
  Json post_processor() const {
    const bool bos = adds_bos_ && bos_;
    const bool eos = file_.find_bool("tokenizer.ggml.add_eos_token").value_or(false) && eos_;
    if (!bos && !eos) return nullptr;
    Json single = Json::array(), pair = Json::array(), tokens = Json::object();
    const auto special = [&](uint32_t id, int type) {
      const std::string_view token = vocabulary_.tokens[id];
      tokens[std::string(token)] = {{"id", token}, {"ids", {id}}, {"tokens", {token}}};
      return Json{{"SpecialToken", {{"id", token}, {"type_id", type}}}};
    };
    const auto part = [&](const char* name, int type, Json& out) {
      if (bos) out.push_back(special(*bos_, type));
      out.push_back({{"Sequence", {{"id", name}, {"type_id", type}}}});
      if (eos) out.push_back(special(*eos_, type));
    };
    part("A", 0, single);
    part("A", 0, pair);
    part("B", 1, pair);
    return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
  }

  // The parts are written one by one: an ordered JSON object of 100,000 keys would take quadratic time to fill.
  void write_tokenizer(const Json& normalizer, const Json& pre_tokenizer, const Json& decoder, const Json& model,
                       const std::vector<Merge>& merges) {
    std::string text =
        "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [";
    const char* separator = "\n    ";
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      const TokenType type = vocabulary_.types[id];
      if (!is_added(type) || vocabulary_.ids.at(vocabulary_.tokens[id]) != id) continue;
      Json token{{"id", id}};
      token.update(added_token(vocabulary_.tokens[id], is_special(type)));
      text.append(separator).append(token.dump());
      separator = ",\n    ";
    }
    text += "\n  ],\n";
    const auto field = [&](const char* name, const Json& value) {
      text += fmt::format("  \"{}\": {},\n", name, value.dump());
    };
    field("normalizer", normalizer);
    field("pre_tokenizer", pre_tokenizer);
    field("post_processor", post_processor());
    field("decoder", decoder);
    text += "  \"model\": {\n";
    for (const auto& [name, value] : model.items()) text += fmt::format("    \"{}\": {},\n", name, value.dump());
    write_vocabulary(text);
    write_merges(text, merges);
    text += "  }\n}\n";
    result_.files["tokenizer.json"] = std::move(text);
  }

  void write_vocabulary(std::string& text) {
    text += "    \"vocab\": {";
    const char* separator = "\n      ";
    size_t left_out = 0;
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      const std::string_view token = vocabulary_.tokens[id];
      if (token.empty() || vocabulary_.ids.at(token) != id) {
        ++left_out;
        continue;
      }
      text += fmt::format("{}{}: {}", separator, Json(token).dump(), id);
      separator = ",\n      ";
    }
    text += "\n    },\n";
    if (left_out > 0) {
      result_.notes.push_back(
          fmt::format("tokenizer.json: without {} tokens that are empty or there again under another id", left_out));
    }
  }

  // "a b" as all versions of tokenizers read it, or pairs where a token has a blank itself.
  static void write_merges(std::string& text, const std::vector<Merge>& merges) {
    const bool pairs = std::any_of(merges.begin(), merges.end(), [](const Merge& merge) {
      return merge.first.find(' ') != std::string_view::npos || merge.second.find(' ') != std::string_view::npos;
    });
    text += "    \"merges\": [";
    for (size_t i = 0; i < merges.size(); ++i) {
      const auto& [left, right] = merges[i];
      const Json merge = pairs ? Json::array({left, right}) : Json(std::string(left).append(" ").append(right));
      text += fmt::format("{}\n      {}", i == 0 ? "" : ",", merge.dump());
    }
    text += "\n    ]\n";
  }

  Json special_tokens() const {
    Json map = Json::object();
    const auto add = [&](const char* name, std::optional<uint32_t> id) {
      if (id) map[name] = vocabulary_.tokens[*id];
    };
    add("bos_token", bos_);
    add("eos_token", eos_);
    add("unk_token", unknown_);
    add("pad_token", padding_);
    return map;
  }

  Json tokenizer_config() {
    Json config{{"tokenizer_class", "PreTrainedTokenizerFast"}};
    config.update(special_tokens());
    config["add_bos_token"] = adds_bos_;
    config["add_eos_token"] = file_.find_bool("tokenizer.ggml.add_eos_token").value_or(false);
    config["clean_up_tokenization_spaces"] = false;
    // By default transformers adds token_type_ids, which decoders refuse.
    config["model_input_names"] = {"input_ids", "attention_mask"};
    if (const auto context = file_.find_u32(file_.get_string("general.architecture") + ".context_length")) {
      config["model_max_length"] = *context;
    }
    Json decoder = Json::object();
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      const TokenType type = vocabulary_.types[id];
      // Not by operator[]: see write_tokenizer.
      if (is_added(type) && vocabulary_.ids.at(vocabulary_.tokens[id]) == id) {
        decoder.get_ref<Json::object_t&>().Container::emplace_back(
            std::to_string(id), added_token(vocabulary_.tokens[id], is_special(type)));
      }
    }
    config["added_tokens_decoder"] = std::move(decoder);
    if (auto chat = file_.find_string("tokenizer.chat_template")) {
      if (is_text(*chat)) {
        config["chat_template"] = *std::move(chat);
      } else {
        result_.notes.emplace_back("no chat template: the file's is not UTF-8");
      }
    }
    return config;
  }

  static bool is_text(const std::string& text) {
    try {
      (void)Json(text).dump();
      return true;
    } catch (const Json::exception&) {
      return false;
    }
  }

  const GgufFile& file_;
  Vocabulary vocabulary_;
  TokenizerFiles result_;
  std::optional<uint32_t> bos_, eos_, unknown_, padding_;
  bool adds_bos_ = false;
};

// Token ids only: which ids end a text, above all.
std::string generation_config(const GgufFile& file) {
  Json config{{"_from_model_config", true}};
  const auto add = [&](const char* name, const char* key) {
    if (const auto id = file.find_u32(key); id && *id <= INT32_MAX) config[name] = *id;
  };
  add("bos_token_id", "tokenizer.ggml.bos_token_id");
  add("eos_token_id", "tokenizer.ggml.eos_token_id");
  const auto eos = file.find_u32("tokenizer.ggml.eos_token_id"), turn = file.find_u32("tokenizer.ggml.eot_token_id");
  if (eos && turn && *eos != *turn && *eos <= INT32_MAX && *turn <= INT32_MAX) config["eos_token_id"] = {*eos, *turn};
  add("pad_token_id", "tokenizer.ggml.padding_token_id");
  return config.dump(2) + "\n";
}

}  // namespace

TokenizerFiles tokenizer_files(const GgufFile& file) {
  TokenizerFiles result;
  if (file.find("tokenizer.ggml.tokens") && file.find("tokenizer.ggml.model")) {
    result = Builder(file).build();
  } else {
    result.notes.emplace_back("no tokenizer.json: the file has no tokenizer");
  }
  result.files["generation_config.json"] = generation_config(file);
  return result;
}

}  // namespace mxq
