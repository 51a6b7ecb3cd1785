#include "model/tokenizer_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "expect_error.h"
#include "gguf_builder.h"
#include "model/tokenizer_vocabulary.h"

// That the files give the right ids is tested with the tokenizers package: tests/integration/tokenizer_peer.py.

namespace mxq {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::json;

constexpr auto kInvalid = ErrorCode::invalid_file;

TokenizerFiles rebuild(const GgufBuilder& builder) {
  const std::string bytes = builder.build();
  return tokenizer_files(parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf"));
}

GgufBuilder byte_level(const std::string& pre) {
  GgufBuilder b;
  b.string("general.architecture", "llama").u32("llama.context_length", 2048);
  b.string("tokenizer.ggml.model", "gpt2");
  if (!pre.empty()) b.string("tokenizer.ggml.pre", pre);
  b.strings("tokenizer.ggml.tokens", {"<s>", "a", "b", "\"", "ab", "<tool>", "[pad]", "Ġé"});
  b.numbers<int32_t>("tokenizer.ggml.token_type", 5, {3, 1, 1, 1, 1, 4, 5, 1});
  b.strings("tokenizer.ggml.merges", {"a b"});
  b.u32("tokenizer.ggml.bos_token_id", 0).u32("tokenizer.ggml.eos_token_id", 4).u32("tokenizer.ggml.eot_token_id", 5);
  b.u32("tokenizer.ggml.padding_token_id", 99);  // not in the vocabulary
  return b;
}

TEST(TokenizerFiles, ByteLevelVocabularyMergesAndAddedTokens) {
  const auto result = rebuild(byte_level("smollm").string("tokenizer.chat_template", "{{ \"<s>\" }}"));
  EXPECT_THAT(result.notes, IsEmpty());
  const Json json = Json::parse(result.files.at("tokenizer.json"));
  EXPECT_EQ(json["version"], "1.0");
  EXPECT_EQ(json["model"]["type"], "BPE");
  EXPECT_EQ(json["model"]["vocab"],
            (Json{{"<s>", 0}, {"a", 1}, {"b", 2}, {"\"", 3}, {"ab", 4}, {"<tool>", 5}, {"[pad]", 6}, {"Ġé", 7}}));
  EXPECT_EQ(json["model"]["merges"], Json::array({"a b"}));
  EXPECT_EQ(json["model"]["ignore_merges"], false);
  ASSERT_EQ(json["added_tokens"].size(), 2u);  // control and user-defined, not the unused one
  EXPECT_EQ(json["added_tokens"][0], (Json{{"id", 0},
                                           {"content", "<s>"},
                                           {"special", true},
                                           {"normalized", false},
                                           {"single_word", false},
                                           {"lstrip", false},
                                           {"rstrip", false}}));
  EXPECT_EQ(json["added_tokens"][1]["content"], "<tool>");
  EXPECT_EQ(json["added_tokens"][1]["special"], false);
  EXPECT_EQ(json["post_processor"], nullptr);
  EXPECT_EQ(json["decoder"]["type"], "ByteLevel");
  const Json& steps = json["pre_tokenizer"]["pretokenizers"];
  EXPECT_EQ(steps[0], (Json{{"type", "Digits"}, {"individual_digits", true}}));
  EXPECT_EQ(steps[1]["type"], "ByteLevel");
  EXPECT_EQ(steps[1]["add_prefix_space"], false);
  EXPECT_EQ(steps[1]["use_regex"], true);

  const Json config = Json::parse(result.files.at("tokenizer_config.json"));
  EXPECT_EQ(config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(config["bos_token"], "<s>");
  EXPECT_EQ(config["eos_token"], "ab");
  EXPECT_FALSE(config.contains("pad_token"));
  EXPECT_EQ(config["chat_template"], "{{ \"<s>\" }}");
  EXPECT_EQ(config["model_max_length"], 2048);
  EXPECT_EQ(config["model_input_names"], (Json{"input_ids", "attention_mask"}));
  EXPECT_EQ(config["added_tokens_decoder"].size(), 2u);
  EXPECT_EQ(config["added_tokens_decoder"]["5"]["content"], "<tool>");
  EXPECT_EQ(Json::parse(result.files.at("special_tokens_map.json")), (Json{{"bos_token", "<s>"}, {"eos_token", "ab"}}));
  const Json generation = Json::parse(result.files.at("generation_config.json"));
  EXPECT_EQ(generation["bos_token_id"], 0);
  EXPECT_EQ(generation["eos_token_id"], Json::array({4, 5}));
}

TEST(TokenizerFiles, WordRules) {
  const auto tokenizer = [](const char* pre) {
    return Json::parse(rebuild(byte_level(pre)).files.at("tokenizer.json"));
  };
  const Json llama = tokenizer("llama-bpe");
  EXPECT_EQ(llama["model"]["ignore_merges"], true);
  const Json& split = llama["pre_tokenizer"]["pretokenizers"][0];
  EXPECT_EQ(split["type"], "Split");
  EXPECT_EQ(split["behavior"], "Isolated");
  EXPECT_THAT(split["pattern"]["Regex"].get<std::string>(), HasSubstr(R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"));
  EXPECT_EQ(llama["pre_tokenizer"]["pretokenizers"][1]["use_regex"], false);
  // Llama 3 begins with BOS unless the file says otherwise.
  EXPECT_EQ(llama["post_processor"]["type"], "TemplateProcessing");
  EXPECT_EQ(llama["post_processor"]["single"], Json::array({{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                                                            {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}));
  EXPECT_EQ(llama["post_processor"]["special_tokens"]["<s>"],
            (Json{{"id", "<s>"}, {"ids", Json::array({0})}, {"tokens", Json::array({"<s>"})}}));

  const Json qwen = tokenizer("qwen2");
  EXPECT_EQ(qwen["normalizer"], (Json{{"type", "NFC"}}));
  EXPECT_THAT(qwen["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"].get<std::string>(),
              HasSubstr(R"(\p{L}+|\p{N}| ?[^)"));
  EXPECT_EQ(tokenizer("gpt-2")["pre_tokenizer"]["type"], "ByteLevel");

  for (const char* pre : {"default", ""}) {
    const auto result = rebuild(byte_level(pre));
    const Json steps = Json::parse(result.files.at("tokenizer.json"))["pre_tokenizer"]["pretokenizers"];
    ASSERT_EQ(steps.size(), 5u);
    EXPECT_EQ(steps[0]["pattern"]["Regex"], R"([\p{P}$+<=>^~|]+)");
    EXPECT_EQ(steps[3]["pattern"]["Regex"], "[0-9][0-9][0-9]");
    EXPECT_EQ(steps[4]["use_regex"], false);
    EXPECT_THAT(result.notes, IsEmpty());
  }
  const auto unknown = rebuild(byte_level("tekken\n"));
  EXPECT_FALSE(unknown.files.contains("tokenizer.json"));
  EXPECT_TRUE(unknown.files.contains("tokenizer_config.json"));
  EXPECT_THAT(unknown.notes, ElementsAre(HasSubstr("tokenizer.ggml.pre is 'tekken\\n'")));
}

TEST(TokenizerFiles, AddsBosAndEosAsTheFileSays) {
  const auto processor = [](bool bos, bool eos) {
    const auto result = rebuild(
        byte_level("gpt-2").boolean("tokenizer.ggml.add_bos_token", bos).boolean("tokenizer.ggml.add_eos_token", eos));
    const Json config = Json::parse(result.files.at("tokenizer_config.json"));
    EXPECT_EQ(config["add_bos_token"], bos);
    EXPECT_EQ(config["add_eos_token"], eos);
    return Json::parse(result.files.at("tokenizer.json"))["post_processor"];
  };
  EXPECT_EQ(processor(false, false), nullptr);
  EXPECT_EQ(processor(true, false)["single"].size(), 2u);
  EXPECT_EQ(processor(false, true)["single"][1]["SpecialToken"]["id"], "ab");
  const Json both = processor(true, true);
  EXPECT_EQ(both["pair"].size(), 6u);
  EXPECT_EQ(both["pair"][4]["Sequence"]["id"], "B");
  EXPECT_EQ(both["special_tokens"].size(), 2u);
}

GgufBuilder sentencepiece() {
  GgufBuilder b;
  b.string("general.architecture", "llama").string("tokenizer.ggml.model", "llama");
  b.strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "<0x61>", "a", "b", "é", "ab", "bé", "abé", "<s>a"});
  b.numbers<int32_t>("tokenizer.ggml.token_type", 5, {2, 3, 6, 1, 1, 1, 1, 1, 1, 1});
  b.u32("tokenizer.ggml.unknown_token_id", 0).u32("tokenizer.ggml.bos_token_id", 1);
  return b;
}

TEST(TokenizerFiles, SentencePieceMergesFollowTheScores) {
  const auto result =
      rebuild(sentencepiece().numbers<float>("tokenizer.ggml.scores", 6, {0, 0, 0, -5, -6, -7, -2, -1, -1.5f, 9}));
  const Json json = Json::parse(result.files.at("tokenizer.json"));
  // bé (-1) before abé (-1.5) before ab (-2); of abé the cut with the longer left half first; <s> is no part.
  EXPECT_EQ(json["model"]["merges"], Json::array({"b é", "ab é", "a bé", "a b"}));
  EXPECT_EQ(json["model"]["byte_fallback"], true);
  EXPECT_EQ(json["model"]["unk_token"], "<unk>");
  EXPECT_EQ(json["model"]["vocab"].size(), 10u);
  EXPECT_EQ(json["pre_tokenizer"], nullptr);
  EXPECT_EQ(json["normalizer"]["normalizers"][0], (Json{{"type", "Prepend"}, {"prepend", "▁"}}));
  EXPECT_EQ(json["normalizer"]["normalizers"][1]["content"], "▁");
  EXPECT_EQ(json["decoder"]["decoders"].size(), 4u);
  EXPECT_EQ(json["added_tokens"].size(), 2u);
  EXPECT_EQ(json["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");

  const auto plain = rebuild(sentencepiece()
                                 .numbers<float>("tokenizer.ggml.scores", 6, std::vector<float>(10, 0.f))
                                 .boolean("tokenizer.ggml.add_space_prefix", false)
                                 .boolean("tokenizer.ggml.add_bos_token", false));
  const Json bare = Json::parse(plain.files.at("tokenizer.json"));
  EXPECT_EQ(bare["normalizer"]["normalizers"].size(), 1u);
  EXPECT_EQ(bare["decoder"]["decoders"].size(), 3u);
  EXPECT_EQ(bare["post_processor"], nullptr);
}

TEST(TokenizerFiles, MergesOfTokensWithBlanksArePairs) {
  GgufBuilder b;
  b.string("general.architecture", "llama").string("tokenizer.ggml.model", "llama");
  b.strings("tokenizer.ggml.tokens", {"a", " ", "a "}).numbers<float>("tokenizer.ggml.scores", 6, {-1, -2, -3});
  const Json json = Json::parse(rebuild(b).files.at("tokenizer.json"));
  EXPECT_EQ(json["model"]["merges"], Json::array({Json::array({"a", " "})}));
  EXPECT_EQ(json["model"]["unk_token"], nullptr);
}

TEST(TokenizerFiles, WithoutTokenizerThereIsANote) {
  const auto none = rebuild(GgufBuilder().string("general.architecture", "llama"));
  EXPECT_EQ(none.files.size(), 1u);
  EXPECT_THAT(none.notes, ElementsAre(HasSubstr("no tokenizer")));
  GgufBuilder other;
  other.string("general.architecture", "llama")
      .string("tokenizer.ggml.model", "bert")
      .strings("tokenizer.ggml.tokens", {"a"});
  const auto bert = rebuild(other);
  EXPECT_FALSE(bert.files.contains("tokenizer.json"));
  EXPECT_THAT(bert.notes, ElementsAre(HasSubstr("tokenizer.ggml.model is 'bert'")));
  GgufBuilder bare;
  bare.string("general.architecture", "llama")
      .string("tokenizer.ggml.model", "gpt2")
      .strings("tokenizer.ggml.tokens", {"a"});
  const auto no_merges = rebuild(bare);
  EXPECT_FALSE(no_merges.files.contains("tokenizer.json"));
  EXPECT_THAT(no_merges.notes, ElementsAre("no tokenizer.json: the file has no tokenizer.ggml.merges"));
  // A template that is no text is left out.
  const auto result = rebuild(byte_level("gpt-2").string("tokenizer.chat_template", "\xff"));
  EXPECT_FALSE(Json::parse(result.files.at("tokenizer_config.json")).contains("chat_template"));
  EXPECT_THAT(result.notes, ElementsAre(HasSubstr("no chat template")));
}

TEST(TokenizerFiles, RefusesVocabulariesThatContradictThemselves) {
  const auto refused = [](const std::string& message, const GgufBuilder& builder) {
    expect_error(kInvalid, "read the tokenizer of vocab.gguf: " + message, [&] { rebuild(builder); });
  };
  const auto with = [](const std::vector<std::string>& tokens) {
    GgufBuilder b;
    b.string("general.architecture", "llama")
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2");
    b.strings("tokenizer.ggml.tokens", tokens);
    return b;
  };
  for (const char* bad : {"\xff", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "a\x80",
                          "\xf0\x80\x80\x80", "\xf4\x90\x80\x80"}) {
    refused("token 1 is not UTF-8", with({"a", bad}));
  }
  refused("1 token types of 2 tokens", with({"a", "b"}).numbers<int32_t>("tokenizer.ggml.token_type", 5, {1}));
  refused("token 1 has type 7; expected 0 to 6",
          with({"a", "b"}).numbers<int32_t>("tokenizer.ggml.token_type", 5, {1, 7}));
  refused("merge 0 is one word, 'ab'", with({"a", "b"}).strings("tokenizer.ggml.merges", {"ab"}));
  refused("merge 0 is one word, ''", with({"a", "b"}).strings("tokenizer.ggml.merges", {""}));
  refused("merge 0 needs the token 'ab', which is not there",
          with({"a", "b"}).strings("tokenizer.ggml.merges", {"a b"}));
  refused("merge 0 needs the token 'c'", with({"a", "ca"}).strings("tokenizer.ggml.merges", {"c a"}));
  refused("2 scores of 10 tokens", sentencepiece().numbers<float>("tokenizer.ggml.scores", 6, {0, 0}));
  refused("the score of token 3 is nan",
          sentencepiece().numbers<float>("tokenizer.ggml.scores", 6, std::vector<float>(10, NAN)));
  GgufBuilder long_token;
  long_token.string("general.architecture", "llama").string("tokenizer.ggml.model", "llama");
  long_token.strings("tokenizer.ggml.tokens", {std::string(1025, 'a')}).numbers<float>("tokenizer.ggml.scores", 6, {0});
  refused("token 0 has 1025 bytes; expected at most 1024", long_token);
}

}  // namespace
}  // namespace mxq
