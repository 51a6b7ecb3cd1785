#include "model/tokenizer/tokenizer_gguf.h"

#include <fmt/format.h>

#include "model/tokenizer_vocabulary.h"
#include "mxq/error.h"
#include "mxq/text.h"

namespace mxq {

namespace {

constexpr std::string_view kGemma4 = "gemma4";

std::vector<BpeMerge> merges_by_id(const std::vector<Merge>& merges, const Vocabulary& vocabulary) {
  std::vector<BpeMerge> result;
  result.reserve(merges.size());
  std::string whole;
  for (const auto& [left, right] : merges) {
    whole.assign(left).append(right);
    result.push_back({vocabulary.ids.at(left), vocabulary.ids.at(right), vocabulary.ids.at(whole),
                      static_cast<uint32_t>(result.size())});
  }
  return result;
}

// What a text begins and ends with.
void surround(const GgufFile& file, bool bos_by_default, TokenizerSpec& spec) {
  const auto asked = [&](const char* key, bool otherwise) { return file.find_bool(key).value_or(otherwise); };
  if (spec.bos && asked("tokenizer.ggml.add_bos_token", bos_by_default)) spec.prefix = {*spec.bos};
  if (spec.eos && asked("tokenizer.ggml.add_eos_token", false)) spec.suffix = {*spec.eos};
}

void sentencepiece(const GgufFile& file, const Vocabulary& vocabulary, bool space_prefix, TokenizerSpec& spec) {
  spec.byte_fallback = spec.fuse_unknown = true;
  spec.unknown = vocabulary.special(file, "tokenizer.ggml.unknown_token_id");
  spec.space_mark = kSpaceMark;
  spec.strip_first_blank = space_prefix;
  if (space_prefix) spec.normalize.push_back({NormalizeStep::prepend, {}, std::string(kSpaceMark)});
  spec.normalize.push_back({NormalizeStep::replace, " ", std::string(kSpaceMark)});
}

void cut_words(const WordRule& rule, TokenizerSpec& spec) {
  spec.byte_level = true;
  bool letters = false;
  for (const WordCut& cut : rule.cuts) {
    if (cut.pattern == nullptr) break;
    if (cut.of_letters && !letters) spec.words.push_back({.kind = WordStep::to_letters});
    letters = cut.of_letters;
    spec.words.push_back({.rule = {.pattern = cut.pattern, .behavior = cut.behavior}});
  }
  if (letters) spec.words.push_back({.kind = WordStep::from_letters});
}

// Words that match and nothing else, which is all of a text: another way to say that matches are words.
std::vector<WordStep> isolated(std::vector<WordStep> words) {
  for (WordStep& step : words) {
    if (step.kind != WordStep::split || !step.rule.invert || step.rule.behavior != SplitBehavior::removed) continue;
    step.rule.invert = false;
    step.rule.behavior = SplitBehavior::isolated;
  }
  return words;
}

void with_merges(const GgufFile& file, const Vocabulary& vocabulary, TokenizerSpec& spec) {
  const WordRule rule = named_word_rule(file, spec.operation);
  surround(file, rule.adds_bos, spec);
  if (rule.byte_level) {
    apply_word_rule(rule, spec);
  } else {
    sentencepiece(file, vocabulary, false, spec);
  }
  spec.merges = merges_by_id(read_merges(file, vocabulary), vocabulary);
}

void with_scores(const GgufFile& file, const Vocabulary& vocabulary, TokenizerSpec& spec) {
  surround(file, true, spec);
  sentencepiece(file, vocabulary, file.find_bool("tokenizer.ggml.add_space_prefix").value_or(true), spec);
  spec.merges = merges_by_id(merges_from_scores(file, vocabulary), vocabulary);
  const auto scores = file.get_f32s("tokenizer.ggml.scores");
  for (size_t i = 1; i < spec.merges.size(); ++i) {
    auto& merge = spec.merges[i];
    if (scores[merge.whole] == scores[spec.merges[i - 1].whole]) merge.rank = spec.merges[i - 1].rank;
  }
}

}  // namespace

void apply_word_rule(const WordRule& rule, TokenizerSpec& spec) {
  spec.ignore_merges = rule.ignore_merges;
  if (rule.normal == WordRule::nfc) spec.normalize.push_back({NormalizeStep::nfc, {}, {}});
  if (rule.normal == WordRule::nfkc) spec.normalize.push_back({NormalizeStep::nfkc, {}, {}});
  cut_words(rule, spec);
}

std::optional<std::string_view> name_of_word_rule(const TokenizerSpec& spec) {
  const auto words = isolated(spec.words);
  for (const auto& [name, rule] : word_rules()) {
    if (name.empty() || !rule.byte_level || rule.ignore_merges != spec.ignore_merges) continue;
    TokenizerSpec named;
    apply_word_rule(rule, named);
    if (named.words == words && named.normalize == spec.normalize) return name;
  }
  return std::nullopt;
}

WordRule named_word_rule(const GgufFile& file, const std::string& operation) {
  // A model of this name has this rule, whatever the file says.
  const bool is_gemma = file.get_string("tokenizer.ggml.model") == kGemma4;
  const std::string pre = is_gemma ? std::string(kGemma4) : file.find_string("tokenizer.ggml.pre").value_or("");
  if (const auto rule = word_rule(pre)) return *rule;
  throw Error(ErrorCode::unsupported, operation, fmt::format("tokenizer.ggml.pre is {}", in_quotes(pre)),
              word_rule_names());
}

std::string word_rule_remark(const GgufFile& file) {
  const std::string pre = file.find_string("tokenizer.ggml.pre").value_or("");
  if (file.find_string("tokenizer.ggml.model") != "gpt2" || (!pre.empty() && pre != "default")) return {};
  return "the file does not say how its tokenizer cuts text into words (tokenizer.ggml.pre): llama.cpp's default is "
         "taken, which is hardly the model's own";
}

TokenizerSpec tokenizer_spec(const GgufFile& file) {
  TokenizerSpec spec;
  spec.operation = "read the tokenizer of " + file.source;
  const std::string model = file.get_string("tokenizer.ggml.model");
  const Vocabulary vocabulary = read_vocabulary(file);
  spec.tokens.assign(vocabulary.tokens.begin(), vocabulary.tokens.end());
  for (uint32_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const TokenType type = vocabulary.types[id];
    if (type != TokenType::control && type != TokenType::unknown && type != TokenType::user_defined) continue;
    spec.added.push_back({.content = spec.tokens[id], .id = id, .special = type != TokenType::user_defined});
  }
  spec.bos = vocabulary.special(file, "tokenizer.ggml.bos_token_id");
  spec.eos = vocabulary.special(file, "tokenizer.ggml.eos_token_id");
  if (model == "gpt2" || model == kGemma4) {
    with_merges(file, vocabulary, spec);
  } else if (model == "llama") {
    with_scores(file, vocabulary, spec);
  } else {
    throw Error(ErrorCode::unsupported, spec.operation, fmt::format("tokenizer.ggml.model is {}", in_quotes(model)),
                "gpt2, gemma4, llama");
  }
  spec.remark = word_rule_remark(file);
  return spec;
}

}  // namespace mxq
