// Tokenizers of GGUF files, rebuilt as tokenizer.json and made metadata again.
#include "model/tokenizer/gguf_tokenizer_entries.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <span>

#include "base/mapped_file.h"
#include "expect_error.h"
#include "gguf_builder.h"
#include "model/tokenizer/small_tokenizers.h"
#include "model/tokenizer/tokenizer_gguf.h"
#include "model/tokenizer/tokenizer_json.h"
#include "model/tokenizer_files.h"
#include "model/tokenizer_vocabulary.h"
#include "shared_data.h"

namespace mxq {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Json = nlohmann::json;
using Strings = std::vector<std::string>;

TokenizerSpec spec_of(const TokenizerFiles& files) {
  const auto beside = [&](const char* name) { return SideFile{files.files.at(name), name}; };
  return parse_tokenizer_json(files.files.at("tokenizer.json"), "tokenizer.json",
                              {beside("tokenizer_config.json"), beside("special_tokens_map.json"), {}, {}});
}

struct Written {
  std::vector<std::string> notes;
  std::string bytes;
  GgufFile file;

  Written(const TokenizerSpec& spec, int64_t rows)
      : bytes(gguf_header(gguf_tokenizer_entries(spec, rows, notes), {})),
        file(parse_gguf(std::as_bytes(std::span(bytes)), "written.gguf")) {}
};

Strings strings(const GgufFile& file, const char* key) {
  const auto views = file.get_strings(key);
  return {views.begin(), views.end()};
}

// That all of tokenizer.ggml.* is there again; scores by the merges that they make.
void expect_same(const GgufFile& wanted, const GgufFile& file) {
  for (const auto& [key, value] : wanted.metadata) {
    if (!key.starts_with("tokenizer.ggml.")) continue;
    if (key == "tokenizer.ggml.scores") {
      EXPECT_EQ(merges_from_scores(file, read_vocabulary(file)), merges_from_scores(wanted, read_vocabulary(wanted)));
      continue;
    }
    ASSERT_NE(file.find(key), nullptr) << key;
    EXPECT_TRUE(gguf_entry(key, *file.find(key)) == gguf_entry(key, value)) << key;
  }
}

GgufBuilder byte_level_with(std::string_view pre) {
  GgufBuilder b;
  b.string("general.architecture", "llama").u32("llama.context_length", 2048);
  b.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", pre);
  b.strings("tokenizer.ggml.tokens", {"<s>", "a", "b", "c", "ab", "</s>", "[PAD6]", "<tool>", "abc"});
  b.numbers<int32_t>("tokenizer.ggml.token_type", 5, {3, 1, 1, 1, 1, 3, 5, 4, 1});
  b.strings("tokenizer.ggml.merges", {"a b", "ab c"});
  b.u32("tokenizer.ggml.bos_token_id", 0).u32("tokenizer.ggml.eos_token_id", 5);
  b.u32("tokenizer.ggml.unknown_token_id", 0).u32("tokenizer.ggml.padding_token_id", 5);
  b.boolean("tokenizer.ggml.add_bos_token", true).boolean("tokenizer.ggml.add_eos_token", false);
  return b;
}

TEST(GgufTokenizerEntries, EveryRuleIsFoundAgain) {
  for (const auto& [name, rule] : word_rules()) {
    if (name.empty() || !rule.byte_level) continue;
    const std::string bytes = byte_level_with(name).build();
    const GgufFile file = parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf");
    const Written written(spec_of(tokenizer_files(file)), 9);
    EXPECT_THAT(written.notes, IsEmpty());
    // Some rules have several names.
    TokenizerSpec wanted, found;
    apply_word_rule(rule, wanted);
    const std::string pre = written.file.get_string("tokenizer.ggml.pre");
    apply_word_rule(*word_rule(pre), found);
    EXPECT_EQ(found.words, wanted.words) << name << " became " << pre;
    EXPECT_EQ(found.normalize, wanted.normalize) << name << " became " << pre;
    EXPECT_EQ(found.ignore_merges, wanted.ignore_merges) << name << " became " << pre;
  }
}

TEST(GgufTokenizerEntries, ByteLevelIsTheSameAgain) {
  for (const char* pre : {"smollm", "llama-bpe", "qwen2", "gpt-2", "tekken", "gpt-4o", "deepseek-v3", "falcon"}) {
    const std::string bytes = byte_level_with(pre).build();
    const GgufFile file = parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf");
    expect_same(file, Written(spec_of(tokenizer_files(file)), 9).file);
  }
}

TEST(GgufTokenizerEntries, RowsWithoutTokensAndTokensWithoutRows) {
  const std::string bytes = byte_level_with("smollm").build();
  const GgufFile file = parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf");
  const TokenizerSpec spec = spec_of(tokenizer_files(file));
  const Written more(spec, 11);
  EXPECT_THAT(more.notes, IsEmpty());
  const Strings tokens = strings(more.file, "tokenizer.ggml.tokens");
  EXPECT_EQ(Strings(tokens.end() - 3, tokens.end()), (Strings{"abc", "[PAD9]", "[PAD10]"}));
  EXPECT_THAT(more.file.get_ints("tokenizer.ggml.token_type"), ElementsAre(3, 1, 1, 1, 1, 3, 5, 4, 1, 5, 5));
  const Written fewer(spec, 5);
  EXPECT_THAT(fewer.notes, ElementsAre("the tokenizer knows 9 tokens, the model 5: the others are left out"));
  EXPECT_EQ(strings(fewer.file, "tokenizer.ggml.tokens"), (Strings{"<s>", "a", "b", "c", "ab"}));
  EXPECT_EQ(strings(fewer.file, "tokenizer.ggml.merges"), (Strings{"a b"}));
  EXPECT_EQ(fewer.file.find("tokenizer.ggml.eos_token_id"), nullptr);
}

TEST(GgufTokenizerEntries, TypesOfAddedTokens) {
  Json json = byte_level();
  json["added_tokens"].push_back(added(15, "<|fim|>", false));
  json["added_tokens"].push_back(added(16, "<unused0>", false));
  const Written written(parse_tokenizer_json(json.dump(), "t.json"), 17);
  const auto types = written.file.get_ints("tokenizer.ggml.token_type");
  // <s>, <s>>, <m>; the last two look special.
  EXPECT_EQ(std::vector(types.end() - 5, types.end()), (std::vector<int64_t>{3, 4, 3, 3, 3}));
  EXPECT_EQ(written.file.get_string("tokenizer.ggml.pre"), "smollm");
  EXPECT_EQ(written.file.get_bool("tokenizer.ggml.add_bos_token"), true);
  EXPECT_THAT(written.notes, ElementsAre(HasSubstr("1 tokens take blanks beside them along")));
}

GgufBuilder sentencepiece() {
  GgufBuilder b;
  b.string("general.architecture", "llama").u32("llama.context_length", 2048);
  b.string("tokenizer.ggml.model", "llama").string("tokenizer.ggml.pre", "default");
  b.strings("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "<0x41>", "▁a", "ab", "▁ab", "▁", "a", "b", "  "});
  b.numbers<float>("tokenizer.ggml.scores", 6, {0, 0, 0, 0, -2, -1, 0, -3, -4, -5, -1000});
  b.numbers<int32_t>("tokenizer.ggml.token_type", 5, {3, 3, 3, 6, 1, 1, 1, 1, 1, 1, 4});
  b.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  b.u32("tokenizer.ggml.unknown_token_id", 0);
  return b;
}

TEST(GgufTokenizerEntries, SentencePieceIsTheSameAgain) {
  for (const bool prefix : {true, false}) {
    GgufBuilder b = sentencepiece();
    b.boolean("tokenizer.ggml.add_bos_token", prefix).boolean("tokenizer.ggml.add_eos_token", !prefix);
    b.boolean("tokenizer.ggml.add_space_prefix", prefix);
    const std::string bytes = b.build();
    const GgufFile file = parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf");
    const Written written(spec_of(tokenizer_files(file)), 11);
    EXPECT_THAT(written.notes, IsEmpty());
    expect_same(file, written.file);
    EXPECT_THAT(written.file.get_f32s("tokenizer.ggml.scores"),
                ElementsAre(-1000, -1000, -1000, 0, -2, -1, 0, -3, -4, -5, -1000));
  }
}

// Newer files put the marks into words, and Gemma's cut at blanks that are gone by then.
TEST(GgufTokenizerEntries, OtherWaysToSaySentencePiece) {
  const std::string bytes = sentencepiece().build();
  const GgufFile file = parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf");
  const TokenizerSpec spec = spec_of(tokenizer_files(file));
  const std::string mark(kSpaceMark);
  const auto prefix_of = [](const TokenizerSpec& changed) {
    return Written(changed, 11).file.get_bool("tokenizer.ggml.add_space_prefix");
  };
  TokenizerSpec gemma = spec;
  gemma.normalize = {{NormalizeStep::replace, " ", mark}};
  gemma.words = {{.rule = {" ", true, SplitBehavior::merged_with_previous}}};
  EXPECT_FALSE(prefix_of(gemma));
  TokenizerSpec metaspace = spec;
  metaspace.normalize.clear();
  metaspace.words = {{WordStep::mark_blanks, {}, mark}, {WordStep::prepend_first, {}, mark}};
  EXPECT_TRUE(prefix_of(metaspace));
  metaspace.words.pop_back();
  EXPECT_FALSE(prefix_of(metaspace));
  metaspace.words.clear();
  EXPECT_THROW(prefix_of(metaspace), Error);  // nothing marks blanks
  TokenizerSpec lower = spec;
  lower.normalize.push_back({NormalizeStep::lower_case, {}, {}});
  EXPECT_THROW(prefix_of(lower), Error);
}

TEST(GgufTokenizerEntries, MergesThatAreNotThoseOfScores) {
  const std::string bytes = sentencepiece().build();
  const GgufFile file = parse_gguf(std::as_bytes(std::span(bytes)), "vocab.gguf");
  TokenizerSpec spec = spec_of(tokenizer_files(file));
  std::erase_if(spec.merges, [&](const BpeMerge& merge) { return spec.tokens[merge.whole] == "ab"; });
  const Written written(spec, 11);
  EXPECT_THAT(written.notes, ElementsAre(HasSubstr("1 more ways to merge (such as into 'ab'), 0 in another place")));
}

TEST(GgufTokenizerEntries, OthersAreRefused) {
  Json json = byte_level();
  json["pre_tokenizer"]["pretokenizers"][0] = {
      {"type", "Split"}, {"pattern", {{"Regex", "x+"}}}, {"behavior", "Isolated"}, {"invert", false}};
  std::vector<std::string> notes;
  const auto write = [&] { gguf_tokenizer_entries(parse_tokenizer_json(json.dump(), "t.json"), 15, notes); };
  expect_error(ErrorCode::unsupported, "write GGUF: a tokenizer that cuts text into words by 'x+' and '", write);
  expect_error(ErrorCode::unsupported, "expected the rules that llama.cpp names default, gpt-2", write);
  // Matches that are all there is, said the other way.
  const WordRule qwen = *word_rule("kormo");
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", qwen.cuts[0].pattern}}}, {"behavior", "Removed"}, {"invert", true}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  const auto spec = parse_tokenizer_json(json.dump(), "t.json");
  EXPECT_EQ(name_of_word_rule(spec), "kormo");
  TokenizerSpec unigram = spec;
  unigram.scores = {1, 2};
  expect_error(ErrorCode::unsupported, "Unigram", [&] { gguf_tokenizer_entries(unigram, 15, notes); });
  TokenizerSpec text = spec;
  text.byte_level = false;
  expect_error(ErrorCode::unsupported, "neither byte-level BPE nor SentencePiece's",
               [&] { gguf_tokenizer_entries(text, 15, notes); });
}

TEST(GgufTokenizerEntries, PublishedVocabularies) {
  for (const char* name : {"tokenizers/ggml-vocab-llama-bpe.gguf", "tokenizers/ggml-vocab-llama-spm.gguf"}) {
    MXQ_NEEDS_SHARED_DATA(name);
    const MappedFile mapped(shared_data(name));
    const GgufFile file = parse_gguf(mapped.bytes(), name);
    const auto rows = static_cast<int64_t>(file.get_strings("tokenizer.ggml.tokens").size());
    const Written written(spec_of(tokenizer_files(file)), rows);
    EXPECT_THAT(written.notes, IsEmpty()) << name;
    for (const char* key : {"tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                            "tokenizer.ggml.merges", "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"}) {
      if (file.find(key) == nullptr) continue;
      EXPECT_TRUE(gguf_entry(key, *written.file.find(key)) == gguf_entry(key, *file.find(key))) << name << " " << key;
    }
    // Of SentencePiece <unk> is of a type of its own, which an added token loses.
    auto types = file.get_ints("tokenizer.ggml.token_type");
    std::replace(types.begin(), types.end(), int64_t{2}, int64_t{3});
    EXPECT_EQ(written.file.get_ints("tokenizer.ggml.token_type"), types);
    if (file.find("tokenizer.ggml.scores") == nullptr) continue;
    EXPECT_EQ(merges_from_scores(written.file, read_vocabulary(written.file)),
              merges_from_scores(file, read_vocabulary(file)));
  }
}

}  // namespace
}  // namespace mxq
