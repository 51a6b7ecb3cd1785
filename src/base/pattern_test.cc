#include "base/pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "mxq/error.h"

namespace mxq {
namespace {

TEST(Pattern, SearchesAnywhereAndNamesTheOption) {
  const Pattern pattern("--skip", R"(layers\.0\.)");
  EXPECT_TRUE(pattern.found_in("model.layers.0.mlp"));
  EXPECT_FALSE(pattern.found_in("model.layers.10.mlp"));
  EXPECT_TRUE(Pattern("--pin", "").found_in("anything"));
  try {
    Pattern broken("--skip", "([");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::usage);
    EXPECT_THAT(e.what(), testing::HasSubstr("--skip: '([' is not a regular expression"));
  }
}

// Against the standard library's ECMAScript, which is a reference of its own.
TEST(Pattern, FindsWhatEcmaScriptFinds) {
  const char* const expressions[] = {"layers",
                                     R"(layers\.[0-3]\.)",
                                     "^model",
                                     "proj$",
                                     "q_proj|k_proj",
                                     "(q|k|v)_proj",
                                     R"(\d+)",
                                     R"(\bq)",
                                     R"(e\B)",
                                     "[^a-z._]",
                                     "[[:digit:]]{2}",
                                     "l.*?p",
                                     "(?:mlp|attn)\\.",
                                     "l(?=ayers)",
                                     "m(?!odel)",
                                     R"((l).*\1)",
                                     "o{2,}",
                                     "x*$",
                                     R"(\x6d)",
                                     R"(\u006d)",
                                     "[\\w.]+$",
                                     "a|",
                                     "(a*)*b",
                                     "up_proj.{3}",
                                     "\\.\\d{1,2}\\.",
                                     "[]",
                                     "[^]",
                                     "a{0}m",
                                     "[.]",
                                     "[\\]]",
                                     "[a\\-z]",
                                     "}",
                                     "]",
                                     "m$|^x",
                                     R"([\b])",
                                     R"(\s)"};
  const char* const texts[] = {"model.layers.0.self_attn.q_proj",
                               "model.layers.12.mlp.up_proj",
                               "lm_head",
                               "",
                               "proj\n",
                               "a\rb",
                               "model.embed_tokens.weight",
                               "x]}-\b"};
  for (const char* expression : expressions) {
    const Pattern ours("test", expression);
    const std::regex theirs(expression, std::regex::ECMAScript);
    for (const char* text : texts) {
      EXPECT_EQ(ours.found_in(text), std::regex_search(std::string(text), theirs)) << expression << " in " << text;
    }
  }
}

// By the standard; the standard library differs.
TEST(Pattern, AGroupThatTookNoPartIsEmptyAndControlsAreWhatTheySay) {
  EXPECT_TRUE(Pattern("test", R"(^(x)?\1m)").found_in("m"));
  EXPECT_TRUE(Pattern("test", R"(\cJ)").found_in("proj\n"));
}

TEST(Pattern, RefusesTheExtensionsOfOtherEngines) {
  for (const char* expression :
       {"(?i)proj", "(?<n>a)",        "(?<=a)b",  "(?<!a)b", "(?>a)",    "(?P<n>a)", "(?#a)",  "(?R)",     "(?|a|b)",
        "(*UTF)a",  "(*F)",           "a++",      "a*+",     "a?+",      "a{2}+",    R"(\A)",  R"(\z)",    R"(\Z)",
        R"(\Qa\E)", R"(\h)",          R"(\R)",    R"(\K)",   R"(\G)",    R"(\p{L})", R"(\X)",  R"(\N)",    R"(\a)",
        R"(\e)",    R"(\g1)",         R"(\k<n>)", R"(\012)", R"((a)\2)", R"(\1)",    R"(\x4)", R"(\u00e)", R"(\u2028)",
        "[[:<:]]a", "[[:^alpha:]]",   "[[.a.]]",  "[[=a=]]", "*a",       "+",        "a|*",    "(*a)",     "a{,3}",
        "a{",       "a{x}",           "^*",       "(",       ")",        "[",        "a{3,2}", "[z-a]",    "\\",
        R"([\1])",  "[[:nonsense:]]", R"(\c1)"}) {
    EXPECT_THROW(Pattern("test", expression), Error) << expression;
  }
}

TEST(Pattern, EndsWhateverIsAskedFor) {
  const std::string name = "model.layers.17.self_attn.q_proj.weight";
  // What a search must find is looked for first.
  EXPECT_FALSE(Pattern("--pin", "(([a-z_.0-9]+)+)+!").found_in(name));
  for (const char* expression : {"(([a-z_.0-9]+)+)+[!?]", "(.*)*(.*)*(.*)*[!?]", "^(.+)+(.+)+(.+)+$[!?]"}) {
    try {
      Pattern("--pin", expression).found_in(name);
      ADD_FAILURE() << expression;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::usage);
      EXPECT_THAT(e.what(), testing::HasSubstr(expression));
      EXPECT_THAT(e.what(), testing::HasSubstr("takes too long"));
    }
  }
  for (const std::string& expression : {std::string("((a{1000}){1000}){1000}"), std::string(10000, '('),
                                        std::string(5000, '(') + std::string(5000, ')'), std::string(1 << 15, 'a')}) {
    EXPECT_THROW(Pattern("--pin", expression), Error) << expression.substr(0, 40);
  }
}

}  // namespace
}  // namespace mxq
