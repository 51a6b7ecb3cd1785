// The tokenizer's parts one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "base/utf8.h"
#include "expect_error.h"
#include "model/tokenizer/added_tokens.h"
#include "model/tokenizer/bpe.h"
#include "model/tokenizer/byte_level.h"
#include "model/tokenizer/nfc.h"
#include "model/tokenizer/serde_number.h"
#include "model/tokenizer/splitter.h"
#include "model/tokenizer/unicode.h"
#include "model/tokenizer/word_rules.h"
#include "mxq/error.h"

namespace mxq {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Words = std::vector<std::string_view>;

TEST(Utf8, CharactersThereAndBack) {
  for (const uint32_t character :
       {0x0u, 0x7fu, 0x80u, 0x7ffu, 0x800u, 0xd7ffu, 0xe000u, 0xffffu, 0x10000u, 0x10ffffu}) {
    std::string text;
    append_character(character, text);
    EXPECT_EQ(character_length(text), text.size());
    EXPECT_EQ(first_character(text), character);
  }
  EXPECT_EQ(find_invalid_utf8("aé\u20ac\U0001f600"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("aé\x80"), 3u);
  EXPECT_EQ(find_invalid_utf8("a\xf4\x90\x80\x80"), 1u);
}

TEST(ByteLevel, IsGpt2sAlphabet) {
  // As GPT-2's vocabulary has them.
  EXPECT_EQ(byte_level_character(' '), "Ġ");
  EXPECT_EQ(byte_level_character('\n'), "Ċ");
  EXPECT_EQ(byte_level_character(0x00), "Ā");
  EXPECT_EQ(byte_level_character(0xad), "Ń");
  EXPECT_EQ(byte_level_character('!'), "!");
  EXPECT_EQ(byte_level_character(0xe9), "é");
  for (int byte = 0; byte < 256; ++byte) {
    const auto back = byte_level_bytes(byte_level_character(static_cast<uint8_t>(byte)));
    EXPECT_EQ(back, std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(byte_level_bytes("a b"), std::nullopt);
  EXPECT_EQ(byte_level_bytes("▁"), std::nullopt);
}

// The definition: look at all neighbours, merge the best, start again.
std::vector<int32_t> merge_slowly(std::vector<int32_t> ids, const std::vector<BpeMerge>& merges) {
  std::map<std::pair<uint32_t, uint32_t>, BpeMerge> table;
  for (const auto& merge : merges) {
    const auto [entry, is_new] = table.try_emplace({merge.left, merge.right}, merge);
    if (!is_new && merge.rank < entry->second.rank) entry->second = merge;
  }
  while (true) {
    const BpeMerge* best = nullptr;
    size_t at = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto found = table.find({static_cast<uint32_t>(ids[i]), static_cast<uint32_t>(ids[i + 1])});
      if (found != table.end() && (!best || found->second.rank < best->rank)) {
        best = &found->second;
        at = i;
      }
    }
    if (!best) return ids;
    ids[at] = static_cast<int32_t>(best->whole);
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

TEST(Bpe, MergesAsTheDefinition) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(random); };
    const uint32_t vocabulary = 3 + below(10);
    std::vector<BpeMerge> merges;
    for (uint32_t i = 0, count = below(30); i < count; ++i) {
      // Distinct ranks for distinct wholes, some shared by cuts of the same whole.
      const uint32_t whole = below(vocabulary);
      merges.push_back({below(vocabulary), below(vocabulary), whole, below(2) ? whole : i + vocabulary});
    }
    std::vector<int32_t> ids(below(60));
    for (auto& id : ids) id = static_cast<int32_t>(below(vocabulary));
    const MergeTable table(merges, vocabulary);
    MergeLoop loop(table);
    std::vector<int32_t> merged{-7};  // what is before stays
    merged.insert(merged.end(), ids.begin(), ids.end());
    loop.run(merged, 1);
    std::vector<int32_t> expected = merge_slowly(ids, merges);
    expected.insert(expected.begin(), -7);
    EXPECT_EQ(merged, expected);
  }
}

// Cut wherever that is allowed, each part merged alone.
std::vector<int32_t> merge_parts(const std::vector<int32_t>& ids, const MergeCuts& cuts, MergeLoop& loop) {
  std::vector<int32_t> merged;
  size_t from = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0 && cuts.may_cut(static_cast<uint32_t>(ids[i - 1]), static_cast<uint32_t>(ids[i]))) {
      loop.run(merged, from);
      from = merged.size();
    }
    merged.push_back(ids[i]);
  }
  loop.run(merged, from);
  return merged;
}

TEST(Bpe, PartsMergeAsTheWhole) {
  size_t tables_with_cuts = 0, tables_without = 0;
  for (unsigned seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(random); };
    // Merges of anything with anything, so that tokens have several spellings; or each of a new token, which has one.
    const bool several = seed % 3 == 0;
    const uint32_t symbols = 2 + below(8), merged = below(12), vocabulary = symbols + merged;
    std::vector<BpeMerge> merges;
    for (uint32_t i = 0; i < merged; ++i) {
      const uint32_t whole = symbols + i, known = several ? vocabulary : whole;
      merges.push_back({below(known), below(known), several ? below(vocabulary) : whole, below(merged)});
    }
    std::shuffle(merges.begin(), merges.end(), random);
    std::vector<bool> initial(vocabulary);
    for (uint32_t id = 0; id < vocabulary; ++id) initial[id] = id < symbols || below(8) == 0;
    std::vector<uint32_t> alphabet;
    for (uint32_t id = 0; id < vocabulary; ++id) {
      if (initial[id]) alphabet.push_back(id);
    }
    const MergeCuts cuts(merges, initial);
    const MergeTable table(merges, vocabulary);
    MergeLoop loop(table);
    bool any = false;
    for (const uint32_t a : alphabet) {
      for (const uint32_t b : alphabet) any |= cuts.may_cut(a, b);
    }
    ++(any ? tables_with_cuts : tables_without);
    for (int text = 0; text < 4; ++text) {
      std::vector<int32_t> ids(below(80));
      for (auto& id : ids) id = static_cast<int32_t>(alphabet[below(static_cast<uint32_t>(alphabet.size()))]);
      ASSERT_EQ(merge_parts(ids, cuts, loop), merge_slowly(ids, merges));
    }
  }
  EXPECT_GT(tables_with_cuts, 1000u);
  EXPECT_GT(tables_without, 100u);
}

TEST(Bpe, CutsWhereNoTokenReachesAcross) {
  // a b c d; ab, abc; "d" merges with nothing, and nothing begins with c or ends in a.
  const MergeCuts cuts({{0, 1, 4, 0}, {4, 2, 5, 1}}, {true, true, true, true, false, false});
  EXPECT_FALSE(cuts.may_cut(0, 1));
  EXPECT_FALSE(cuts.may_cut(1, 2));
  EXPECT_TRUE(cuts.may_cut(0, 2));
  EXPECT_TRUE(cuts.may_cut(2, 0));
  EXPECT_TRUE(cuts.may_cut(3, 0));
  EXPECT_TRUE(cuts.may_cut(2, 3));
}

TEST(AddedTokens, LeftmostThenLongest) {
  const AddedTokens tokens({{.content = "ab", .id = 1},
                            {.content = "abcd", .id = 2, .special = false},
                            {.content = "bcd", .id = 3},
                            {.content = "", .id = 4}});
  const auto found = [&](std::string_view text, bool special) {
    std::vector<std::pair<std::string, uint32_t>> result;
    for (const auto& section : tokens.split(text, special)) {
      result.emplace_back(section.text, section.token ? section.token->id : 0);
    }
    return result;
  };
  using P = std::pair<std::string, uint32_t>;
  EXPECT_THAT(found("xabcdab", true), ElementsAre(P{"x", 0}, P{"abcd", 2}, P{"ab", 1}));
  EXPECT_THAT(found("abcbcdx", true), ElementsAre(P{"ab", 1}, P{"c", 0}, P{"bcd", 3}, P{"x", 0}));
  EXPECT_THAT(found("ababcd", false), ElementsAre(P{"ab", 0}, P{"abcd", 2}));
  EXPECT_THAT(found("", true), IsEmpty());
}

TEST(AddedTokens, TakeUnicodesWhiteSpaceAlong) {
  const AddedTokens tokens({{.content = "<m>", .id = 1, .lstrip = true, .rstrip = true}});
  const std::string text = "a\u3000 <m>\u00a0\n\u200bb <m>";
  Words parts;
  for (const auto& section : tokens.split(text, true)) parts.push_back(section.text);
  EXPECT_THAT(parts, ElementsAre("a", "<m>", "\u200bb", "<m>"));
}

Words split(const std::string& pattern, std::string_view text) {
  return Splitter("test", {.pattern = pattern}).split({text});
}

TEST(Splitter, WhiteSpaceIsUnicodes) {
  // All of White_Space, and neither U+180E nor U+200B.
  for (const char* blank : {"\t", "\r", " ", "\u0085", "\u00a0", "\u1680", "\u2000", "\u2028", "\u202f", "\u3000"}) {
    const std::string text = std::string("a") + blank + "b";
    EXPECT_THAT(split(R"(\s)", text), ElementsAre("a", blank, "b"));
    EXPECT_THAT(split(R"([^\sx])", text), ElementsAre("a", blank, "b"));
    EXPECT_THAT(split(R"(\S)", text), ElementsAre("a", blank, "b"));
  }
  for (const char* other : {"\u180e", "\u200b", "\u00ad"}) {
    EXPECT_THAT(split(R"(\s)", std::string("a") + other), ElementsAre(std::string("a") + other));
  }
  EXPECT_THAT(split(R"([]\s]+)", "a] b"), ElementsAre("a", "] ", "b"));
  EXPECT_THAT(split(R"(\\s)", R"(a\s b)"), ElementsAre("a", R"(\s)", " b"));
  EXPECT_THAT(Splitter("test", {.pattern = R"(\s)", .literal = true}).split({R"(a\s b)"}),
              ElementsAre("a", R"(\s)", " b"));
}

// The meanings are Oniguruma's (doc/RE of its sources), which differ from Perl's.
TEST(Splitter, PatternsMeanWhatTheyMeanToOniguruma) {
  EXPECT_THAT(split("^b", "ab\nb"), ElementsAre("ab\n", "b"));  // lines, always
  EXPECT_THAT(split("a$", "a\nba"), ElementsAre("a", "\nb", "a"));
  EXPECT_THAT(split("a{1,2}+b", "aaab"), ElementsAre("aaab"));           // not possessive
  EXPECT_THAT(split(R"(\h)", "xaF "), ElementsAre("x", "a", "F", " "));  // a hex digit
  EXPECT_THAT(split("(?m:.)+", "a\nb"), ElementsAre("a\nb"));            // . takes line breaks
  EXPECT_THAT(split("[a-c&&[^b]]", "abc"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(split("[a-c&&[^b]]+", "acbb"), ElementsAre("ac", "bb"));
  EXPECT_THAT(split("[x[yz]]+", "axyz"), ElementsAre("a", "xyz"));
  EXPECT_THAT(split("[[:alpha:]]+", "1é\u65e5-"), ElementsAre("1", "é\u65e5", "-"));
  EXPECT_THAT(split(R"(\w+)", "e\u0301-"), ElementsAre("e\u0301", "-"));  // marks are of words
  EXPECT_THAT(split("a(?i)b|c", "aBaC"), ElementsAre("aB", "aC"));        // the option holds for both
  EXPECT_THAT(split(R"(\R)", "a\r\nb"), ElementsAre("a", "\r\n", "b"));
  for (const char* pattern : {R"(\Ga)", R"(a\Kb)", R"(\X)", "(?~ab)", R"((a)\1)", "(?i:ss)", "(?i:\u00df)", "(?W)a"}) {
    EXPECT_THROW(split(pattern, "a"), Error) << pattern;
  }
}

TEST(Splitter, Gpt2WordsAndEmptyMatches) {
  EXPECT_THAT(split(kGpt2Words, "I'm  here, 12x\n\n"), ElementsAre("I", "'m", " ", " here", ",", " 12", "x", "\n\n"));
  EXPECT_THAT(split("b*", "aébba"), ElementsAre("a", "é", "bb", "a"));
  EXPECT_THAT(split("(?=[A-Z])", "aBcD"), ElementsAre("a", "Bc", "D"));
  EXPECT_THAT(Splitter("test", {.pattern = "a"}).split({}), IsEmpty());
  EXPECT_THAT(split(R"(\w+)", "a²½①"), ElementsAre("a²½", "①"));  // as in Oniguruma
  // Each piece is looked at alone.
  EXPECT_THAT(Splitter("test", {.pattern = "a(?!b)"}).split({"xa", "b"}), ElementsAre("x", "a", "b"));
}

// As the package's normalizer Replace has it.
TEST(Splitter, ReplacesMatchesOfNothing) {
  const auto replace = [](const char* pattern, const char* text) {
    return Splitter("test", {.pattern = pattern}).replace(text, "_");
  };
  EXPECT_EQ(replace(R"((?<!\n)^)", "ab\nb"), "_ab\nb");
  EXPECT_EQ(replace("^", "\nx"), "_\n_x");
  EXPECT_EQ(replace("$", "ab\nb"), "ab_\nb_");
  EXPECT_EQ(replace("b*", "é日b"), "_é_日_");
  EXPECT_EQ(replace("(?=b)", "ab\nb"), "a_b\n_b");
  EXPECT_EQ(replace("^", ""), "");
}

// What the package tokenizers 0.22.2 writes of a Unigram model whose score is the first.
TEST(SerdeNumber, IsThePackagesDouble) {
  const std::vector<std::pair<const char*, double>> values{
      {"-15.275492379532281", -0x1.e8d0d5650c6d7p+3},
      {"0", 0x0.0p+0},
      {"-0.0", -0x0.0p+0},
      {"7", 0x1.c000000000000p+2},
      {"-3", -0x1.8000000000000p+1},
      {"1.5", 0x1.8000000000000p+0},
      {"-2.5e-3", -0x1.47ae147ae147bp-9},
      {"1e22", 0x1.0f0cf064dd592p+73},
      {"1e23", 0x1.52d02c7e14af6p+76},
      {"0.1", 0x1.999999999999ap-4},
      {"123456789012345678901234567890", 0x1.8ee90ff6c373ep+96},
      {"-9.99999999999999999999999", -0x1.4000000000000p+3},
      {"18446744073709551616", 0x1.0000000000000p+64},
      {"18446744073709551615.5", 0x1.0000000000000p+64},
      {"4.9e-324", 0x0.0000000000001p-1022},
      {"1e-400", 0x0.0p+0},
      {"1.7976931348623157e308", 0x1.fffffffffffffp+1023},
      {"0e999", 0x0.0p+0},
      {"-0.000000000000000000000000000000000012345678901234567890", -0x1.069044f7ab3e7p-116},
      {"12345678901234567890123.4567e-10", 0x1.1f71fb04cb74fp+40},
      {"-11.512925464970229", -0x1.7069e2aa2aa5bp+3},
      {"1E5", 0x1.86a0000000000p+16},
      {"2.5e+3", 0x1.3880000000000p+11},
      {"9007199254740993", 0x1.0000000000000p+53},
      {"0.30000000000000004e0", 0x1.3333333333334p-2},
      {"-3.0123284804704786", -0x1.8193faca370cdp+1},
      {"-14.825037124029805", -0x1.da66b44136347p+3},
      {"-1.2806287645399461", -0x1.47d7496604157p+0}};
  for (const auto& [text, value] : values) EXPECT_EQ(serde_number(text), value) << text;
  for (const char* text : {"1e309", "-1e400", "1e99999999999", "123e307"})
    EXPECT_EQ(serde_number(text), std::nullopt) << text;
}

TEST(Nmt, LeavesNoControlCharacters) {
  EXPECT_EQ(without_controls(std::string("a\0b\x01\x0b\x1f\x7f\u008f\u009f\u0085", 13)), std::string("a\0b\u0085", 5));
  EXPECT_EQ(without_controls("\t\n\f\r\u1680\u200b\u200f\u2028\u2581\ufeff\ufffd\u00a0"), "           \u00a0");
}

TEST(Splitter, PatternsThatFailAreErrors) {
  expect_error(ErrorCode::invalid_file, "test: the pattern '(' has a ( without ), at byte 1", [] { split("(", "a"); });
  expect_error(ErrorCode::unsupported, "a pattern of 0 bytes", [] { split("", "a"); });
  expect_error(ErrorCode::unsupported, R"(has \C, at byte 1)", [] { split(R"(\C)", "é"); });
  // Exponentially many ways to match.
  expect_error(ErrorCode::unsupported, "the pattern to split text fails at byte 0 of 41: ", [] {
    split("^(a|a|aa)+$", std::string(40, 'a') + "b");
  });
}

// As Python's unicodedata.normalize("NFC", ...) gives them.
TEST(Nfc, DecomposesAndComposes) {
  const auto nul = std::string("a\0e\u0301", 5);
  const std::vector<std::pair<std::string, std::string>> values{
      {"", ""},
      {"plain ASCII\n", "plain ASCII\n"},
      {"e\u0301", "\u00e9"},
      {"\u00e9", "\u00e9"},
      {"a\u0323\u0302", "\u1ead"},
      {"a\u0302\u0323", "\u1ead"},             // marks are put in order first
      {"q\u0307\u0323", "q\u0323\u0307"},      // also where nothing composes
      {"\u212b", "\u00c5"},                    // Angstrom sign
      {"\uf900", "\u8c48"},                    // compatibility ideograph
      {"\u1100\u1161\u11a8", "\uac01"},        // Hangul
      {"\uac00\u11a7", "\uac00\u11a7"},        // U+11A7 is not a final consonant
      {"\u0958", "\u0915\u093c"},              // is excluded from composition
      {"\u0344", "\u0308\u0301"},              // likewise
      {"\ufb01 \u00bd", "\ufb01 \u00bd"},      // compatibility characters stay
      {"\U0001d15e", "\U0001d157\U0001d165"},  // beyond the BMP
      {"\u0301x", "\u0301x"},                  // nothing before it
      {"a\u1abf\u0334", "a\u1abf\u0334"},      // a mark that Unicode 9 does not know
      {"\U00011935\U00011930", "\U00011935\U00011930"},
      {nul, std::string("a\0\u00e9", 4)},
  };
  for (const auto& [text, expected] : values) EXPECT_EQ(to_nfc(text), expected) << text;
}

}  // namespace
}  // namespace mxq
