#include "model/tokenizer/word_rules.h"

namespace mxq {

namespace {

// OpenAI's cl100k, and the same with other numbers: one digit (Qwen 2), any (MiniCPM 5).
constexpr const char* kCl100kWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kMiniCpm5Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// With marks among the letters.
constexpr const char* kQwen35Words =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kSeedCoderWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kBailingWords =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";
// Words of K-EXAONE hold single blanks.
constexpr const char* kExaoneMoeWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)";

// OpenAI's o200k, and the same without contractions (Mistral's Tekken), with one digit (Youtu), with Chinese characters
// apart (Kimi): words end where small letters turn to capitals.
constexpr const char* kGpt4oWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekkenWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kYoutuWords =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kKimiWords =
    R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr const char* kBloomWords = R"( ?[^(\s|[.,!?…。，、।۔،])]+)";
constexpr const char* kLineBreaks = R"([\r\n])";
constexpr const char* kNumbers = R"(\p{N}+)";
constexpr const char* kUpToThreeDigits = R"(\p{N}{1,3})";
constexpr const char* kThreeDigits = "[0-9][0-9][0-9]";
// Threes counted from the right.
constexpr const char* kThreesBehind = R"((?=(\d{3})+(?!\d)))";
constexpr const char* kCohereDigits = R"(\d{1,3}(?=(?:\d{3})*\b))";
constexpr const char* kAfmoeDigits = R"(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))";

// DeepSeek's of the first two generations: letters that have case, and signs up to U+3002.
constexpr const char* kDeepSeekLetters =
    R"(\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1})"
    R"(\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5})"
    R"(\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a})"
    R"(\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b})"
    R"(\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc})"
    R"(\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107})"
    R"(\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134})"
    R"(\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4})"
    R"(\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787})"
    R"(\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a})"
    R"(\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2})"
    R"(\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+)";
constexpr const char* kDeepSeekSigns = R"(\s?[!-/:-~！-／：-～‘-‟\x{3000}-。]+)";
constexpr const char* kBlanksAtTheEnd = R"(\s+$)";
constexpr const char* kDeepSeekCjk = R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)";
constexpr const char* kCjk = R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)";
constexpr const char* kDeepSeek3Words =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr WordRule cut(std::array<WordCut, 6> cuts) {
  return {.cuts = cuts};
}
constexpr WordRule in_nfc(WordRule rule) {
  rule.normal = WordRule::nfc;
  return rule;
}
constexpr WordRule in_nfkc(WordRule rule) {
  rule.normal = WordRule::nfkc;
  return rule;
}
constexpr WordRule whole_words(WordRule rule) {
  rule.ignore_merges = true;
  return rule;
}
constexpr WordRule with_bos(WordRule rule) {
  rule.adds_bos = true;
  return rule;
}

// llama.cpp's own, of no published model.
constexpr WordRule kDefault = cut({{{R"([\p{P}$+<=>^~|]+)"}, {kGpt2Words}, {kNumbers}, {kThreeDigits}}});
constexpr WordRule kGpt2 = cut({{{kGpt2Words}}});
constexpr WordRule kDigits = cut({{{kSingleDigits}, {kGpt2Words}}});
constexpr WordRule kCl100k = cut({{{kCl100kWords}}});
constexpr WordRule kLlama3 = with_bos(whole_words(kCl100k));
constexpr WordRule kQwen2 = cut({{{kQwen2Words}}});
constexpr WordRule kGpt4o = cut({{{kGpt4oWords}}});
constexpr WordRule kBloom = cut({{{kBloomWords}}});
constexpr WordRule kBailing = in_nfc(cut({{{kBailingWords}}}));
constexpr WordRule kDeepSeek3 = cut({{{kUpToThreeDigits}, {kCjk}, {kDeepSeek3Words}}});
constexpr WordRule kCohere = cut({{{kCohereDigits}, {kGpt4oWords}}});
constexpr WordRule kText{.byte_level = false};

constexpr NamedWordRule kRules[] = {
    {"", kDefault},
    {"default", kDefault},

    {"gpt-2", kGpt2},
    {"phi-2", kGpt2},
    {"mpt", in_nfc(kGpt2)},
    {"olmo", in_nfc(kGpt2)},
    {"jais", kGpt2},
    {"trillion", kGpt2},
    {"gigachat", kGpt2},
    {"mellum", kGpt2},
    {"granite-docling", kGpt2},
    {"a.x-4.0", kGpt2},
    {"exaone4", kGpt2},

    {"smollm", kDigits},
    {"starcoder", kDigits},
    {"refact", kDigits},
    {"command-r", in_nfc(kDigits)},
    {"codeshell", kDigits},
    {"exaone", in_nfkc(kDigits)},
    {"minerva-7b", kDigits},
    {"mellum2", kDigits},

    {"llama-bpe", kLlama3},
    {"llama3", kLlama3},
    {"llama-v3", kLlama3},
    {"falcon3", kLlama3},
    {"falcon-h1", kLlama3},
    {"pixtral", kLlama3},
    {"midm-2.0", kLlama3},
    {"lfm2", kLlama3},
    {"smaug-bpe", whole_words(kCl100k)},  // of SmolLM3, too
    {"glm4", whole_words(kCl100k)},
    {"chatglm-bpe", whole_words(kCl100k)},
    {"dbrx", kCl100k},

    {"qwen2", in_nfc(kQwen2)},
    {"deepseek-r1-qwen", in_nfc(kQwen2)},
    {"f2llmv2", in_nfc(kQwen2)},
    {"stablelm2", in_nfc(kQwen2)},
    {"hunyuan", in_nfc(kQwen2)},
    {"kormo", kQwen2},
    {"megrez", kQwen2},
    {"grok-2", kQwen2},
    {"solar-open", kQwen2},
    {"qwen35", in_nfc(cut({{{kQwen35Words}}}))},
    {"laguna", cut({{{R"((?:\r?\n)+(?!\r?\n))", SplitBehavior::merged_with_next}, {kQwen2Words}}})},
    {"seed-coder", cut({{{kSeedCoderWords}}})},
    {"minicpm5", cut({{{kUpToThreeDigits}, {kMiniCpm5Words}}})},
    {"bailingmoe", kBailing},
    {"bailingmoe2", kBailing},
    {"llada-moe", kBailing},
    {"exaone-moe", cut({{{kExaoneMoeWords}}})},

    {"tekken", with_bos(whole_words(cut({{{kTekkenWords}}})))},
    {"gpt-4o", whole_words(kGpt4o)},
    {"llama4", whole_words(kGpt4o)},
    {"kanana2", kGpt4o},
    {"minimax-m2", in_nfc(kGpt4o)},
    {"tiny_aya", kCohere},
    {"cohere2moe", kCohere},
    {"kimi-k2", whole_words(cut({{{kKimiWords}}}))},
    {"youtu",
     whole_words(cut(
         {{{R"([가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[\x{4e00}-\x{9fa5}\x{3040}-\x{30ff}]+)"},
           {kYoutuWords}}}))},

    {"deepseek-llm",
     cut({{{kLineBreaks}, {kDeepSeekLetters}, {kDeepSeekSigns}, {kBlanksAtTheEnd}, {kDeepSeekCjk}, {kSingleDigits}}})},
    {"deepseek-coder", cut({{{kLineBreaks}, {R"(\s?\p{L}+)"}, {R"(\s?\p{P}+)"}, {kDeepSeekCjk}, {kSingleDigits}}})},
    {"deepseek-v3", kDeepSeek3},
    {"hunyuan-dense", kDeepSeek3},
    {"joyai-llm", kDeepSeek3},
    {"afmoe",
     cut({{{kAfmoeDigits},
           {R"([一-鿿㐀-䶿\x{f900}-\x{faff}\x{3040}-\x{309f}\x{30a0}-\x{30ff}･-ﾟ\x{2f00}-\x{2fdf}\x{e40}-\x{e7f}\x{e80}-\x{eff}\x{1780}-\x{17ff}\x{1000}-\x{109f}\x{aa60}-\x{aa7f}\x{a9e0}-\x{a9ff}가-\x{d7af}\x{1100}-\x{11ff}]+)"},
           {kDeepSeek3Words}}})},

    {"falcon", cut({{{kPunctuation, SplitBehavior::contiguous},
                     {kGpt2Words},
                     {kNumbers, SplitBehavior::isolated, true},
                     {kThreeDigits, SplitBehavior::isolated, true}}})},
    {"bloom", kBloom},
    {"gpt3-finnish", kBloom},
    {"poro-chat", kBloom},
    {"viking", cut({{{kBloomWords}, {kSingleDigits}}})},
    {"chameleon", with_bos(cut({{{"<sentinel:[0-9]+>"},
                                 {"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"},
                                 {R"([\t\n]|    |  )"},
                                 {kSingleDigits},
                                 {kPunctuation},
                                 {kGpt2Words}}}))},
    {"superbpe", cut({{{kNumbers}, {kThreesBehind}}})},

    {"gemma4", kText},
    {"sarvam-moe", kText},
};

}  // namespace

std::span<const NamedWordRule> word_rules() {
  return kRules;
}

std::optional<WordRule> word_rule(std::string_view pre) {
  for (const auto& [name, rule] : kRules) {
    if (name == pre) return rule;
  }
  return std::nullopt;
}

std::string word_rule_names() {
  std::string names;
  for (const auto& [name, rule] : kRules) {
    if (!name.empty()) names.append(names.empty() ? "" : ", ").append(name);
  }
  return names;
}

}  // namespace mxq
