#include "model/tokenizer/word_rules.h"

namespace mxq {

const char* const kGpt2Words = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// The patterns are OpenAI's cl100k with Llama 3's and Qwen's numbers (three digits, one digit), as their published
// tokenizer.json files have them.
constexpr const char* kLlama3Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

}  // namespace

std::optional<WordRule> word_rule(std::string_view pre) {
  WordRule rule;
  if (pre == "smollm") {
    rule.single_digits = true;
  } else if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    rule.pattern = kLlama3Words;
    rule.ignore_merges = rule.adds_bos = true;
  } else if (pre == "qwen2") {
    rule.nfc = true;
    rule.pattern = kQwen2Words;
  } else if (pre != "gpt-2" && pre != "default") {
    return std::nullopt;
  }
  return rule;
}

}  // namespace mxq
