#include "model/tokenizer/word_rules.h"

namespace mxq {

namespace {

// The patterns are OpenAI's cl100k with Llama 3's and Qwen's numbers (three digits, one digit), as their published
// tokenizer.json files have them.
constexpr const char* kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Mistral's Tekken and OpenAI's o200k: words end where small letters turn to capitals.
constexpr const char* kTekkenWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kGpt4oWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// llama.cpp's own, of no published model.
constexpr const char* kPunctuation = R"([\p{P}$+<=>^~|]+)";
constexpr const char* kNumbers = R"(\p{N}+)";
constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";

struct NamedRule {
  std::string_view name;
  WordRule rule;
};

constexpr WordRule kDefault{.patterns = {kPunctuation, kGpt2Words, kNumbers, kThreeDigits}};
constexpr WordRule kGpt2{.patterns = {kGpt2Words}};
constexpr WordRule kDigits{.patterns = {kSingleDigits, kGpt2Words}};
constexpr WordRule kLlama3{.patterns = {kLlama3Words}, .ignore_merges = true, .adds_bos = true};
constexpr WordRule kDbrx{.patterns = {kLlama3Words}};
constexpr WordRule kQwen2{.patterns = {kQwen2Words}, .nfc = true};
constexpr WordRule kStableLm2{.patterns = {kQwen2Words}};
constexpr WordRule kTekken{.patterns = {kTekkenWords}, .ignore_merges = true, .adds_bos = true};
constexpr WordRule kGpt4o{.patterns = {kGpt4oWords}};

// As llama.cpp groups the names.
constexpr NamedRule kRules[] = {
    {"", kDefault},
    {"smollm", kDigits},
    {"llama-bpe", kLlama3},
    {"qwen2", kQwen2},
    {"gpt-2", kGpt2},
    {"default", kDefault},
    {"llama3", kLlama3},
    {"llama-v3", kLlama3},
    {"falcon3", kLlama3},
    {"falcon-h1", kLlama3},
    {"pixtral", kLlama3},
    {"midm-2.0", kLlama3},
    {"lfm2", kLlama3},
    {"dbrx", kDbrx},
    {"smaug-bpe", kDbrx},
    {"deepseek-r1-qwen", kStableLm2},
    {"stablelm2", kStableLm2},
    {"megrez", kStableLm2},
    {"hunyuan", kStableLm2},
    {"tekken", kTekken},
    {"gpt-4o", kGpt4o},
    {"llama4", kGpt4o},
    {"starcoder", kDigits},
    {"refact", kDigits},
    {"command-r", kDigits},
    {"codeshell", kDigits},
    {"exaone", kDigits},
    {"minerva-7b", kDigits},
    {"phi-2", kGpt2},
    {"mpt", kGpt2},
    {"olmo", kGpt2},
    {"jais", kGpt2},
    {"trillion", kGpt2},
    {"gigachat", kGpt2},
    {"mellum", kGpt2},
    {"granite-docling", kGpt2},
};

}  // namespace

std::optional<WordRule> word_rule(std::string_view pre) {
  for (const auto& [name, rule] : kRules) {
    if (name == pre) return rule;
  }
  return std::nullopt;
}

}  // namespace mxq
