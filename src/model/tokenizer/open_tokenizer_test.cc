// Tokenizers of folders: which files count, and what those beside tokenizer.json change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "expect_error.h"
#include "gguf_builder.h"
#include "model/tokenizer/small_tokenizers.h"
#include "model/tokenizer/tokenizer_config.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/tokenizer.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Ids = std::vector<int32_t>;

// Made by tests/integration/tokenizer_config_peer.py --seed 11 --count 40 --golden FILE: transformers 4.57.6's ids.
TEST(Tokenizer, FilesBesideTokenizerJsonCountAsInTransformers) {
  using Ordered = nlohmann::ordered_json;  // tokens get ids in the file's order
  const Ordered golden = Ordered::parse(read_file(MXQ_SOURCE_DIR "/tests/data/tokenizer_config.json"));
  ASSERT_GT(golden["cases"].size(), 20u);
  for (size_t number = 0; number < golden["cases"].size(); ++number) {
    const Ordered& one = golden["cases"][number];
    const TemporaryFolder folder;
    for (const auto& [name, content] : one["files"].items()) {
      Ordered file = content;
      if (name == "tokenizer.json")
        file["model"]["vocab"] = golden["vocabularies"][file["model"]["vocab"].get<size_t>()];
      write_file(folder / name, file.dump());
    }
    const auto tokenizer = open_tokenizer(folder.path());
    for (size_t i = 0; i < one["texts"].size(); ++i) {
      const auto text = one["texts"][i].get<std::string>();
      EXPECT_EQ(tokenizer->encode(text), one["ids"][i].get<Ids>()) << "case " << number << ", " << text;
    }
  }
}

// As transformers 4.57.6 has it (tests/integration/tokenizer_config_peer.py, seed 0, case 275).
TEST(Tokenizer, OfATokenThatIsNamedTwiceTheLastCounts) {
  const TemporaryFolder folder;
  write_file(folder / "tokenizer.json", byte_level().dump());
  const std::string whole_words = R"({"content": "<x>", "single_word": true, "normalized": false})";
  const auto encode = [&](const std::string& tokens, const char* text) {
    write_file(folder / "tokenizer_config.json", R"({"additional_special_tokens": [)" + tokens + "]}");
    return open_tokenizer(folder.path())->encode(text, {.add_bos = false, .add_eos = false});
  };
  const Ids alone = encode(whole_words, "<x>"), ab = encode(whole_words, "ab");
  ASSERT_EQ(alone.size(), 1u);
  EXPECT_THAT(encode(whole_words, "ab<x>"), ::testing::Not(::testing::Contains(alone[0])));
  Ids both = ab;
  both.push_back(alone[0]);
  EXPECT_EQ(encode(whole_words + R"(, "<x>")", "ab<x>"), both);
}

TEST(Tokenizer, FieldsOfTokenizerConfigThatNobodyKnows) {
  EXPECT_THAT(
      unknown_tokenizer_fields(R"({"bos_token": "<s>", "wobble": 1, "chat_template": "", "legacy": false, "x": {}})"),
      ElementsAre("wobble", "x"));
  EXPECT_THAT(unknown_tokenizer_fields("[1]"), IsEmpty());
  EXPECT_THAT(unknown_tokenizer_fields("{"), IsEmpty());
}

TEST(Tokenizer, OpensFoldersAndSaysWhatIsMissing) {
  const TemporaryFolder folder;
  expect_error(ErrorCode::not_found, "no such file or folder", [&] { open_tokenizer(folder / "none"); });
  expect_error(ErrorCode::not_found, "the folder has no tokenizer.json", [&] { open_tokenizer(folder.path()); });
  write_file(folder / "model.safetensors", "");
  expect_error(ErrorCode::unsupported, "a file ending in '.safetensors'",
               [&] { open_tokenizer(folder / "model.safetensors"); });
  GgufBuilder b;
  b.string("general.architecture", "llama").string("tokenizer.ggml.model", "gpt2");
  b.strings("tokenizer.ggml.tokens", {"a", "b", "ab"}).strings("tokenizer.ggml.merges", {"a b"});
  b.write(folder / "vocab.gguf");
  EXPECT_THAT(open_tokenizer(folder.path())->encode("abb"), ElementsAre(2, 1));
  write_file(folder / "tokenizer.json", byte_level().dump());
  write_file(folder / "tokenizer_config.json", R"({"eos_token": "<s>>"})");
  EXPECT_EQ(open_tokenizer(folder.path())->eos(), 13);
  EXPECT_EQ(open_tokenizer(folder / "tokenizer.json")->eos(), 13);
}

}  // namespace
}  // namespace mxq
