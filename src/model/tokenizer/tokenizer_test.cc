// Tokenizers as a whole: real vocabularies with the ids that llama.cpp gave, small ones with the ids of the package
// tokenizers 0.22.
#include "mxq/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>

#include "base/mapped_file.h"
#include "expect_error.h"
#include "gguf_builder.h"
#include "model/tokenizer/small_tokenizers.h"
#include "model/tokenizer/spec_tokenizer.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer/tokenizer_json.h"
#include "model/tokenizer/word_rules.h"
#include "model/tokenizer_files.h"
#include "model/tokenizer_vocabulary.h"
#include "mxq/files.h"
#include "shared_data.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

constexpr auto kInvalid = ErrorCode::invalid_file;
constexpr auto kUnsupported = ErrorCode::unsupported;

// The same tokenizer by way of the tokenizer.json that is rebuilt from the GGUF.
std::unique_ptr<Tokenizer> by_json(const std::filesystem::path& gguf, const std::filesystem::path& folder) {
  const MappedFile file(gguf);
  for (const auto& [name, text] : tokenizer_files(parse_gguf(file.bytes(), gguf.string())).files) {
    write_file(folder / name, text);
  }
  return open_tokenizer(folder);
}

void expect_same_facts(const Tokenizer& a, const Tokenizer& b) {
  EXPECT_EQ(a.vocab_size(), b.vocab_size());
  EXPECT_EQ(a.bos(), b.bos());
  EXPECT_EQ(a.eos(), b.eos());
  EXPECT_EQ(a.adds_bos(), b.adds_bos());
}

class Pairs : public ::testing::TestWithParam<std::pair<const char*, int32_t>> {};

TEST_P(Pairs, EncodeAndDecodeAsLlamaCpp) {
  const auto [name, bos] = GetParam();
  const std::string file = std::string("tokenizers/") + name + ".gguf";
  MXQ_NEEDS_SHARED_DATA(file);
  const TemporaryFolder folder;
  const auto tokenizer = open_tokenizer(shared_data(file)), other = by_json(shared_data(file), folder.path());
  expect_same_facts(*tokenizer, *other);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->bos(), bos);
  EXPECT_THAT(tokenizer->encode(""), ElementsAre(bos));

  const std::string texts = read_file(shared_data(file + ".inp")), separator = "\n__ggml_vocab_test__\n";
  std::istringstream lines(read_file(shared_data(file + ".out")));
  int pairs = 0;
  size_t begin = 0;
  for (size_t end; (end = texts.find(separator, begin)) != std::string::npos; begin = end + separator.size()) {
    const std::string text = texts.substr(begin, end - begin);
    SCOPED_TRACE(text);
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    std::istringstream words(line);
    Ids expected;
    for (int32_t id; words >> id;) expected.push_back(id);
    EXPECT_EQ(tokenizer->encode(text, {.add_bos = false}), expected);
    EXPECT_EQ(other->encode(text, {.add_bos = false}), expected);
    EXPECT_EQ(tokenizer->decode(expected), text);
    EXPECT_EQ(other->decode(expected), text);
    expected.insert(expected.begin(), bos);
    EXPECT_EQ(tokenizer->encode(text), expected);
    ++pairs;
  }
  EXPECT_EQ(pairs, 46);
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, Pairs,
                         ::testing::Values(std::pair{"ggml-vocab-llama-spm", 1},
                                           std::pair{"ggml-vocab-llama-bpe", 128000}));

TEST(Tokenizer, SmolLM2GivesAllIdsOfWikiText2) {
  const char* model = std::getenv("MXQ_SMOLLM2_GGUF");
  if (!model) GTEST_SKIP() << "set MXQ_SMOLLM2_GGUF to SmolLM2-135M-Instruct.Q4_1.gguf";
  MXQ_NEEDS_SHARED_DATA("smollm2-reference");
  const TemporaryFolder folder;
  const auto tokenizer = open_tokenizer(model), other = by_json(model, folder.path());
  expect_same_facts(*tokenizer, *other);
  EXPECT_FALSE(tokenizer->adds_bos());
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_THAT(tokenizer->encode(""), IsEmpty());

  const std::string text = read_file(shared_data("wikitext-2/test-joined.txt"));
  const std::string bytes = read_file(shared_data("smollm2-reference/wikitext2-test-joined.i32"));
  Ids expected(bytes.size() / 4);
  std::memcpy(expected.data(), bytes.data(), bytes.size());
  ASSERT_EQ(expected.size(), 309187u);
  EXPECT_TRUE(tokenizer->encode(text) == expected);
  EXPECT_TRUE(other->encode(text) == expected);
  EXPECT_TRUE(tokenizer->decode(expected) == text);
  // A chat's marks are one id each, unless they are to be plain text.
  EXPECT_EQ(tokenizer->encode("<|im_start|>user<|im_end|>").size(), 3u);
  const Ids plain = tokenizer->encode("<|im_start|>", {.parse_special = false});
  EXPECT_GT(plain.size(), 1u);
  EXPECT_EQ(tokenizer->decode(plain), "<|im_start|>");
}

Json sentencepiece(const char* scheme) {
  Json vocabulary;
  int id = 0;
  for (const char* token : {"<unk>", "<s>", "▁", "a", "b", "▁a", "ab", "▁ab"}) vocabulary[token] = id++;
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
    vocabulary[name] = id++;
  }
  const auto pair = [](const char* a, const char* b) { return Json::array({a, b}); };
  return {
      {"added_tokens", {added(0, "<unk>"), added(1, "<s>")}},
      {"pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", true}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {Json{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}}, Json{{"type", "ByteFallback"}},
          Json{{"type", "Fuse"}}, Json{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}}}}},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"fuse_unk", true},
        {"byte_fallback", true},
        {"vocab", vocabulary},
        {"merges", Json::array({pair("▁", "a"), pair("a", "b"), pair("▁", "ab")})}}}};
}

SpecTokenizer open(const Json& json) {
  return SpecTokenizer(parse_tokenizer_json(json.dump(), "tokenizer.json"));
}

TEST(Tokenizer, ByteLevelWithAddedTokensAsThePackageTokenizers) {
  const auto tokenizer = open(byte_level());
  EXPECT_THAT(tokenizer.encode("abc ab12 é\n"), ElementsAre(12, 5, 6, 7, 8, 3, 9, 10, 11));
  EXPECT_THAT(tokenizer.encode("aabcb"), ElementsAre(12, 0, 5, 1));
  EXPECT_THAT(tokenizer.encode("a<s>>b<s>c"), ElementsAre(12, 0, 13, 1, 12, 2));
  EXPECT_THAT(tokenizer.encode("a <m> b"), ElementsAre(12, 0, 14, 1));
  EXPECT_THAT(tokenizer.encode("xyz a"), ElementsAre(12, 3, 0));  // no token, no unknown token
  EXPECT_THAT(tokenizer.encode(""), ElementsAre(12));
  EXPECT_THAT(tokenizer.encode("ab  ab"), ElementsAre(12, 4, 3, 6));
  EXPECT_THAT(tokenizer.encode("ab", {.add_bos = false}), ElementsAre(4));
  // What its makers do not call special is found all the same.
  EXPECT_THAT(tokenizer.encode("a<s>>", {.add_bos = false, .parse_special = false}), ElementsAre(0, 13));
  EXPECT_EQ(tokenizer.decode(Ids{12, 5, 6, 7, 8, 3, 9, 10, 11}), "<s>abc ab12 é\n");
  EXPECT_EQ(tokenizer.decode(Ids{9}), "\xc3");  // half a character
  EXPECT_EQ(tokenizer.decode(Ids{}), "");

  Json words = byte_level();
  words["model"]["ignore_merges"] = true;
  words["model"]["merges"] = Json::array();
  EXPECT_THAT(open(words).encode("abc ab bc"), ElementsAre(12, 5, 6, 3, 1, 2));
}

TEST(Tokenizer, SplitBehaviorsAsThePackageTokenizers) {
  const auto encode = [](const char* behavior, bool invert) {
    Json json = byte_level();
    json["pre_tokenizer"]["pretokenizers"][0] = {
        {"type", "Split"}, {"pattern", {{"String", "b"}}}, {"behavior", behavior}, {"invert", invert}};
    json["pre_tokenizer"]["pretokenizers"][1]["use_regex"] = false;
    return open(json).encode("abbcab", {.add_bos = false});
  };
  EXPECT_THAT(encode("MergedWithPrevious", false), ElementsAre(4, 1, 2, 4));
  EXPECT_THAT(encode("MergedWithPrevious", true), ElementsAre(0, 1, 1, 2, 0, 1));
  EXPECT_THAT(encode("MergedWithNext", false), ElementsAre(0, 1, 1, 2, 0, 1));
  EXPECT_THAT(encode("MergedWithNext", true), ElementsAre(4, 1, 2, 4));
  EXPECT_THAT(encode("Removed", false), ElementsAre(0, 2, 0));
  EXPECT_THAT(encode("Removed", true), ElementsAre(1, 1, 1));
  EXPECT_THAT(encode("Isolated", false), ElementsAre(0, 1, 1, 2, 0, 1));
  EXPECT_THAT(encode("Contiguous", false), ElementsAre(0, 1, 1, 2, 0, 1));
}

TEST(Tokenizer, MetaspaceAndByteFallbackAsThePackageTokenizers) {
  const auto first = open(sentencepiece("first")), always = open(sentencepiece("always")),
             never = open(sentencepiece("never"));
  EXPECT_THAT(first.encode("ab a"), ElementsAre(5, 4, 5));
  EXPECT_THAT(first.encode(" ab<s>ab"), ElementsAre(5, 4, 1, 6));
  EXPECT_THAT(first.encode("é ab"), ElementsAre(2, 203, 177, 5, 4));
  EXPECT_THAT(always.encode(" ab<s>ab"), ElementsAre(5, 4, 1, 5, 4));
  EXPECT_THAT(never.encode("ab a"), ElementsAre(6, 5));
  EXPECT_THAT(never.encode("é ab"), ElementsAre(203, 177, 5, 4));
  EXPECT_EQ(first.decode(Ids{2, 203, 177, 5, 4}), "é ab");
  EXPECT_EQ(always.decode(Ids{5, 4, 1, 5, 4}), "ab<s> ab");
  EXPECT_FALSE(first.adds_bos());
}

TEST(Tokenizer, NormalizedAddedTokensAndUnknownsAsThePackageTokenizers) {
  Json json = sentencepiece("first");
  json["pre_tokenizer"] = nullptr;
  json["normalizer"] = {{"type", "Sequence"},
                        {"normalizers",
                         {Json{{"type", "Prepend"}, {"prepend", "▁"}},
                          Json{{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}}}}};
  json["model"]["byte_fallback"] = false;
  EXPECT_THAT(open(json).encode("x ab<s>ab"), ElementsAre(2, 0, 5, 4, 1, 5, 4));
  EXPECT_THAT(open(json).encode("éx  ab"), ElementsAre(2, 0, 2, 5, 4));
  json["added_tokens"][1]["normalized"] = true;  // it is looked for as "▁<s>" then
  EXPECT_THAT(open(json).encode("x ab<s>ab"), ElementsAre(2, 0, 5, 4, 0, 6));
  EXPECT_THAT(open(json).encode("<s>"), ElementsAre(1));
}

// Long texts without words are cut and their parts remembered; words of at most 64 bytes are merged as they are.
TEST(Tokenizer, LongTextsMergeAsTheLoopSays) {
  const std::vector<std::string> characters{"a", "b", "c", "é", "▁", "\U0001f600"};  // the last two are no tokens
  for (unsigned seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
    TokenizerSpec spec;
    spec.operation = "test";
    spec.tokens = {"<unk>", "a", "b", "c", "é", "<0xE2>", "<0x96>", "<0x81>"};
    spec.unknown = 0;
    spec.byte_fallback = below(2) == 0;
    spec.fuse_unknown = below(2) == 0;
    for (size_t i = 0, count = below(12); i < count; ++i) {
      const size_t left = below(spec.tokens.size()), right = below(spec.tokens.size());
      const std::string whole = spec.tokens[left] + spec.tokens[right];
      const auto at = std::find(spec.tokens.begin(), spec.tokens.end(), whole) - spec.tokens.begin();
      if (static_cast<size_t>(at) == spec.tokens.size()) spec.tokens.push_back(whole);
      spec.merges.push_back({static_cast<uint32_t>(left), static_cast<uint32_t>(right), static_cast<uint32_t>(at),
                             static_cast<uint32_t>(below(6))});
    }
    std::string text;
    Ids expected;
    bool unknown_waits = false;  // the package puts bytes before it
    const auto put_unknown = [&] {
      if (unknown_waits) expected.push_back(0);
      unknown_waits = false;
    };
    for (size_t i = 0, count = 65 + below(400); i < count; ++i) {
      const std::string& character = characters[below(characters.size())];
      text += character;
      const auto known = std::find(spec.tokens.begin() + 1, spec.tokens.begin() + 5, character) - spec.tokens.begin();
      const bool unknown = known == 5 && !(spec.byte_fallback && character == "▁");
      if (known < 5) {
        put_unknown();
        expected.push_back(static_cast<int32_t>(known));
      } else if (!unknown) {
        expected.insert(expected.end(), {5, 6, 7});
      } else {
        if (!spec.fuse_unknown) put_unknown();
        unknown_waits = true;
      }
    }
    put_unknown();
    const MergeTable table(spec.merges, spec.tokens.size());
    MergeLoop(table).run(expected, 0);
    EXPECT_EQ(SpecTokenizer(spec).encode(text), expected);
  }
}

TEST(Tokenizer, SentencePieceMergesEqualScoresFromTheLeft) {
  GgufBuilder b;
  b.string("general.architecture", "llama").string("tokenizer.ggml.model", "llama");
  b.strings("tokenizer.ggml.tokens", {"a", "b", "ba", "ab"}).boolean("tokenizer.ggml.add_space_prefix", false);
  b.numbers<float>("tokenizer.ggml.scores", 6, {0, 0, -1, -1});
  const std::string bytes = b.build();
  const SpecTokenizer tokenizer(tokenizer_spec(parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf")));
  EXPECT_THAT(tokenizer.encode("aba"), ElementsAre(3, 0));
  EXPECT_THAT(tokenizer.encode("bab"), ElementsAre(2, 1));
}

TEST(Tokenizer, ConfigNamesBosAndEos) {
  Json json = byte_level();
  json["post_processor"] = nullptr;
  const auto spec = parse_tokenizer_json(
      json.dump(), "tokenizer.json",
      {.tokenizer_config = {R"({"bos_token": {"content": "<s>"}, "eos_token": "<s>>", "x": [1]})", "config"}});
  EXPECT_EQ(spec.bos, 12u);
  EXPECT_EQ(spec.eos, 13u);
  EXPECT_THAT(spec.prefix, IsEmpty());
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8AndIdsThatAreNotThere) {
  const auto tokenizer = open(byte_level());
  expect_error(kInvalid, "tokenize: byte 2 of the text is not UTF-8", [&] { tokenizer.encode("ab\xff"); });
  expect_error(kInvalid, "byte 1 of the text", [&] { tokenizer.encode("a\xc3"); });
  expect_error(kInvalid, "byte 0 of the text", [&] { tokenizer.encode("\xed\xa0\x80"); });
  EXPECT_EQ(tokenizer.encode(std::string("\0", 1), {.add_bos = false}), Ids{});
  for (const int32_t id : {-1, 15}) {
    expect_error(ErrorCode::usage, "decode: id " + std::to_string(id) + "; expected 0 to 14",
                 [&] { tokenizer.decode(std::vector{id}); });
  }
  Json nfc = byte_level();
  nfc["normalizer"] = {{"type", "NFC"}};
  EXPECT_THAT(open(nfc).encode("é"), ElementsAre(12, 9, 10));
  EXPECT_THAT(open(nfc).encode("e\u0301"), ElementsAre(12, 9, 10));
}

TEST(Tokenizer, RefusesFilesThatContradictThemselves) {
  const auto refused = [](ErrorCode code, const std::string& message, const char* at, const Json& value) {
    Json json = byte_level();
    json[Json::json_pointer(at)] = value;
    expect_error(code, "read tokenizer.json: " + message, [&] { open(json); });
  };
  expect_error(kInvalid, "read tokenizer.json: not valid JSON", [] { parse_tokenizer_json("{", "tokenizer.json"); });
  expect_error(kInvalid, "read tokenizer.json: no JSON object", [] { parse_tokenizer_json("[]", "tokenizer.json"); });
  expect_error(kInvalid, "read tokenizer.json: 'model' is missing",
               [] { parse_tokenizer_json("{}", "tokenizer.json"); });
  refused(kInvalid, "merge 0 is one word, 'ab'", "/model/merges/0", "ab");
  refused(kInvalid, "merge 1 is not a pair of tokens", "/model/merges/1", Json::array({"a"}));
  refused(kInvalid, "merge 1 is not a pair of tokens", "/model/merges/1", Json::array({"a", "b", "c"}));
  refused(kInvalid, "merge 2 is not a pair of tokens", "/model/merges/2", 7);
  refused(kInvalid, "merge 0 needs the token 'x'", "/model/merges/0", "a x");
  refused(kInvalid, "merge 0 needs the token 'ba'", "/model/merges/0", "b a");
  refused(kInvalid, "the id of token 'a' is not a number from 0 on", "/model/vocab/a", -1);
  refused(kInvalid, "token 'a' has id 4000000000; expected below", "/model/vocab/a", 4000000000u);
  refused(kInvalid, "tokens 'a' and 'b' both have id 0", "/model/vocab/b", 0);
  refused(kInvalid, "'byte_fallback' is not true or false", "/model/byte_fallback", 1);
  refused(kInvalid, "added token '<s>' has no id", "/added_tokens/0/id", "12");
  refused(kInvalid, "'pattern' is missing", "/pre_tokenizer", {{"type", "Split"}});
  refused(kInvalid, "the behavior 'Other'", "/pre_tokenizer",
          {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Other"}});
}

TEST(Tokenizer, RefusesPartsThatItDoesNotKnowNamingThem) {
  const auto refused = [](const std::string& message, const char* at, const Json& value) {
    Json json = byte_level();
    json[Json::json_pointer(at)] = value;
    expect_error(kUnsupported, "read tokenizer.json: " + message, [&] { open(json); });
  };
  refused("the model is 'WordPiece'; expected BPE, Unigram", "/model", {{"type", "WordPiece"}, {"vocab", {{"a", 0}}}});
  refused("'end_of_word_suffix' is '</w>'", "/model/end_of_word_suffix", "</w>");
  refused("'dropout' is 0.5: ids by chance; expected 0", "/model/dropout", 0.5);
  refused("the model has the field 'new'", "/model/new", 1);
  refused("the file has the field 'new'", "/new", 1);
  refused("version '2.0'", "/version", "2.0");
  refused("the normalizer 'Precompiled'", "/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AA=="}});
  refused("the normalizer NFC has the field 'new'", "/normalizer", {{"type", "NFC"}, {"new", 1}});
  refused("the pre_tokenizer 'UnicodeScripts'", "/pre_tokenizer", {{"type", "UnicodeScripts"}});
  refused("the decoder 'WordPiece'", "/decoder", {{"type", "WordPiece"}});
  refused("the pre_tokenizer is ByteLevel, the decoder is not", "/decoder", nullptr);
  refused("the post_processor 'Other'", "/post_processor", {{"type", "Other"}});
  refused("the post_processor's template for one text has another", "/post_processor/single/2",
          {{"Sequence", {{"id", "A"}}}});
  refused("the pattern '(?~a)' has (?~", "/pre_tokenizer/pretokenizers/0",
          {{"type", "Split"}, {"pattern", {{"Regex", "(?~a)"}}}, {"behavior", "Isolated"}});

  const auto gguf = [](const std::string& message, GgufBuilder b) {
    b.string("general.architecture", "llama").strings("tokenizer.ggml.tokens", {"a"});
    b.strings("tokenizer.ggml.merges", {});
    const std::string bytes = b.build();
    expect_error(kUnsupported, "read the tokenizer of vocab.gguf: " + message,
                 [&] { tokenizer_spec(parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf")); });
  };
  gguf("tokenizer.ggml.model is 'bert'; expected gpt2, gemma4, llama",
       GgufBuilder().string("tokenizer.ggml.model", "bert"));
  gguf("tokenizer.ggml.pre is 'new'; expected default, gpt-2, phi-2",
       GgufBuilder().string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "new"));
}

// Made by tests/integration/tokenizer_rules_peer.py --seed 1 --golden FILE: the ids of the package tokenizers.
const Json& rules_golden() {
  static const Json golden = Json::parse(read_file(MXQ_SOURCE_DIR "/tests/data/tokenizer_rules.json"));
  return golden;
}

SpecTokenizer with_rule(const std::string& pre) {
  const bool is_text = pre == "gemma4" || pre == "sarvam-moe";
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  const auto add = [&](const std::string& token, TokenType type) {
    tokens.push_back(token);
    types.push_back(static_cast<int32_t>(type));
  };
  if (is_text) {
    add("<unk>", TokenType::unknown);
    for (unsigned byte = 0; byte < 256; ++byte) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>", byte);
      add(name, TokenType::byte);
    }
  }
  const Json& vocabulary = rules_golden()[is_text ? "text" : "bytes"];
  for (const auto& token : vocabulary[0]) add(token, TokenType::normal);
  for (const auto& merge : vocabulary[1]) {
    merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  GgufBuilder b;
  b.string("general.architecture", "llama").string("tokenizer.ggml.model", pre == "gemma4" ? "gemma4" : "gpt2");
  b.string("tokenizer.ggml.pre", pre).strings("tokenizer.ggml.tokens", tokens).strings("tokenizer.ggml.merges", merges);
  b.numbers<int32_t>("tokenizer.ggml.token_type", 5, types).boolean("tokenizer.ggml.add_bos_token", false);
  if (is_text) b.u32("tokenizer.ggml.unknown_token_id", 0);
  const std::string bytes = b.build();
  return SpecTokenizer(tokenizer_spec(parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf")));
}

TEST(Tokenizer, RulesForWordsAsThePackageTokenizersHasThem) {
  const Json& golden = rules_golden();
  std::string names;
  for (const Json& rule : golden["rules"]) {
    const auto pre = rule["pre"].get<std::string>();
    const Json& ids = rule.contains("ids") ? rule["ids"] : golden["rules"][rule["same"].get<size_t>()]["ids"];
    const SpecTokenizer tokenizer = with_rule(pre);
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto text = golden["texts"][i].get<std::string>();
      EXPECT_EQ(tokenizer.encode(text), ids[i].get<Ids>()) << pre << ", " << text;
    }
    names += names.empty() ? pre : ", " + pre;
  }
  // Every rule is there. Sorted, since the two have their own orders.
  const auto sorted = [](const std::string& list) {
    std::multiset<std::string> result;
    std::istringstream words(list);
    for (std::string word; words >> word;) result.insert(word.ends_with(',') ? word.substr(0, word.size() - 1) : word);
    return result;
  };
  EXPECT_EQ(sorted(names), sorted(word_rule_names()));
}

TEST(Tokenizer, UnigramAsThePackageTokenizers) {
  const Json& golden = rules_golden();
  ASSERT_GT(golden["unigram"].size(), 15u);
  for (const Json& one : golden["unigram"]) {
    Json file = one["file"];
    file["model"]["vocab"] = golden["vocabularies"][file["model"]["vocab"].get<size_t>()];
    const auto tokenizer = open(file);
    for (size_t i = 0; i < one["ids"].size(); ++i) {
      const auto text = golden["texts"][i].get<std::string>();
      EXPECT_EQ(tokenizer.encode(text), one["ids"][i].get<Ids>()) << one["name"] << ", " << text;
    }
  }
}

Json unigram() {
  const auto piece = [](const char* token, double score) { return Json::array({token, score}); };
  return {{"normalizer", nullptr},
          {"model",
           {{"type", "Unigram"},
            {"unk_id", 0},
            {"vocab", Json::array({piece("<unk>", 0), piece("a", -1), piece("b", -2), piece("ab", -2.5)})}}}};
}

TEST(Tokenizer, UnigramDecodesAndSaysWhatIsWrongWithAFile) {
  EXPECT_THAT(open(unigram()).encode("abba"), ElementsAre(3, 2, 1));
  EXPECT_THAT(open(unigram()).encode("xyabé"), ElementsAre(0, 3, 0));
  EXPECT_EQ(open(unigram()).decode(Ids{3, 2, 1}), "abba");
  Json bare = unigram();
  bare["model"].erase("type");  // files of old
  EXPECT_THAT(open(bare).encode("ab"), ElementsAre(3));
  const auto refused = [](ErrorCode code, const std::string& message, const char* at, const Json& value) {
    Json json = unigram();
    json[Json::json_pointer(at)] = value;
    expect_error(code, "read tokenizer.json: " + message, [&] { open(json).encode("x"); });
  };
  refused(kInvalid, "the vocabulary of Unigram is a map; expected a list", "/model/vocab", {{"a", 0}});
  refused(kInvalid, "the vocabulary of BPE is a list; expected a map", "/model/type", "BPE");
  refused(kInvalid, "the model has no tokens", "/model/vocab", Json::array());
  refused(kInvalid, "token 1 of the vocabulary is not a token with its score", "/model/vocab/1", "a");
  refused(kInvalid, "token 1 of the vocabulary is not a token with its score", "/model/vocab/1", Json::array({"a"}));
  refused(kInvalid, "token 1 of the vocabulary is not a token with its score", "/model/vocab/1",
          Json::array({-1, "a"}));
  refused(kInvalid, "token 1 of the vocabulary is not a token with its score", "/model/vocab/1",
          Json::array({"a", nullptr}));
  refused(kInvalid, "token 1 of the vocabulary is not a token with its score", "/model/vocab/1",
          Json::array({"a", -1, -1}));
  refused(kInvalid, "token 2 of the vocabulary, 'a', is there twice", "/model/vocab/2/0", "a");
  refused(kInvalid, "'unk_id' is 4; expected an id below 4", "/model/unk_id", 4);
  refused(kInvalid, "'unk_id' is -1", "/model/unk_id", -1);
  refused(kInvalid, "the text has a character without token, and there is no unknown token", "/model/unk_id", nullptr);
  refused(kUnsupported, "the model has the field 'alpha'", "/model/alpha", 1);
  refused(kUnsupported, "the model is Unigram, the pre_tokenizer ByteLevel", "/pre_tokenizer",
          {{"type", "ByteLevel"}, {"add_prefix_space", false}});
  // A number that no double is.
  std::string text = unigram().dump();
  text.replace(text.find("-2.5"), 4, "-2e999");
  expect_error(kInvalid, "read tokenizer.json: ", [&] { parse_tokenizer_json(text, "tokenizer.json"); });
}

// The words by hand from the four expressions of llama.cpp's LLAMA_VOCAB_PRE_TYPE_DEFAULT: punctuation, GPT-2's words,
// numbers, three digits.
TEST(Tokenizer, AGgufThatNamesNoRuleIsCutAsLlamaCppCutsIt) {
  const std::vector<std::string> tokens{"\u0120", "1", "2", "3", "4", "5", "'", "s", "\u01201", "34", "45", "'s"};
  const auto tokenizer = [&](const char* pre) {
    GgufBuilder b;
    b.string("general.architecture", "llama").string("tokenizer.ggml.model", "gpt2");
    b.strings("tokenizer.ggml.tokens", tokens);
    b.strings("tokenizer.ggml.merges", {"\u0120 1", "3 4", "4 5", "' s"});
    if (pre != nullptr) b.string("tokenizer.ggml.pre", pre);
    const std::string bytes = b.build();
    return SpecTokenizer(tokenizer_spec(parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf")));
  };
  EXPECT_EQ(tokenizer("gpt-2").encode(" 12345's"), (Ids{8, 2, 9, 5, 11}));
  EXPECT_EQ(tokenizer("gpt-2").remark(), "");
  for (const char* pre : {static_cast<const char*>(nullptr), "", "default"}) {
    const SpecTokenizer unnamed = tokenizer(pre);
    EXPECT_EQ(unnamed.encode(" 12345's"), (Ids{0, 1, 2, 3, 10, 6, 7}));  // blank | 123 | 45 | ' | s
    EXPECT_EQ(unnamed.encode("2345"), (Ids{2, 9, 5}));                   // 234 | 5
    EXPECT_THAT(unnamed.remark(), HasSubstr("tokenizer.ggml.pre"));
  }
}

}  // namespace
}  // namespace mxq
