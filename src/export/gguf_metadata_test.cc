#include "export/gguf_metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <span>

#include "expect_error.h"
#include "export/tiny_gguf_file.h"
#include "model/folded_source.h"
#include "model/tiny_model_gguf.h"
#include "model/tokenizer/small_tokenizers.h"
#include "model/tokenizer_vocabulary.h"
#include "temporary_folder.h"
#include "tiny_gguf.h"

namespace mxq {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
namespace fs = std::filesystem;

const GgufOwnValue* find(const std::vector<GgufEntry>& entries, std::string_view key) {
  for (const GgufEntry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

void expect_entry(const std::vector<GgufEntry>& entries, const char* key, const GgufOwnValue& value) {
  const GgufOwnValue* const found = find(entries, key);
  ASSERT_NE(found, nullptr) << key;
  EXPECT_TRUE(*found == value) << key;
}

class TinyFolder : public testing::Test {
 protected:
  TinyFolder() { tiny_.config["vocab_size"] = tiny_.tensors["model.embed_tokens.weight"].shape[0]; }

  void put(const char* name, const Json& json) { put(name, json.dump()); }
  void put(const char* name, const std::string& text) {
    fs::create_directories(folder_);
    std::ofstream(folder_ / name) << text;
  }
  std::vector<GgufEntry> metadata() {
    tiny_.write(folder_);
    notes_.clear();
    return gguf_metadata(*open_model(folder_), notes_);
  }

  const TemporaryFolder temporary_;
  const fs::path folder_ = temporary_ / "A small model";
  TinyModel tiny_{"llama2"};
  std::vector<std::string> notes_;
};

TEST_F(TinyFolder, GeneralAndTheArchitecturesKeys) {
  put("tokenizer.json", byte_level());
  const auto entries = metadata();
  EXPECT_EQ(entries.front().key, "general.architecture");
  expect_entry(entries, "general.architecture", std::string("llama"));
  expect_entry(entries, "general.type", std::string("model"));
  expect_entry(entries, "general.name", std::string("A small model"));
  expect_entry(entries, "general.alignment", uint32_t{32});
  expect_entry(entries, "general.quantization_version", uint32_t{2});
  EXPECT_EQ(find(entries, "general.file_type"), nullptr);
  expect_entry(entries, "llama.block_count", static_cast<uint32_t>(tiny_.config["num_hidden_layers"].get<int>()));
  expect_entry(entries, "llama.attention.layer_norm_rms_epsilon", tiny_.config["rms_norm_eps"].get<float>());
  expect_entry(entries, "tokenizer.ggml.model", std::string("gpt2"));
  expect_entry(entries, "tokenizer.ggml.pre", std::string("smollm"));
  // One token for each row of the embedding.
  EXPECT_EQ(std::get<std::vector<std::string>>(*find(entries, "tokenizer.ggml.tokens")).size(),
            tiny_.config["vocab_size"].get<size_t>());
}

TEST_F(TinyFolder, WithoutATokenizerThereAreIdsOnly) {
  tiny_.config["bos_token_id"] = 1;
  tiny_.config["eos_token_id"] = {2, 3};
  tiny_.config["pad_token_id"] = 1 << 20;  // no such row
  const auto entries = metadata();
  expect_entry(entries, "tokenizer.ggml.model", std::string("no_vocab"));
  expect_entry(entries, "tokenizer.ggml.bos_token_id", uint32_t{1});
  expect_entry(entries, "tokenizer.ggml.eos_token_id", uint32_t{2});
  expect_entry(entries, "tokenizer.ggml.eot_token_id", uint32_t{3});
  EXPECT_EQ(find(entries, "tokenizer.ggml.padding_token_id"), nullptr);
  EXPECT_EQ(find(entries, "tokenizer.ggml.tokens"), nullptr);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("has no tokenizer.json")));
}

TEST_F(TinyFolder, WhatEndsATurn) {
  put("tokenizer.json", byte_level());
  put("tokenizer_config.json", Json{{"bos_token", "<s>"}, {"eos_token", "<s>>"}, {"pad_token", "<m>"}});
  tiny_.config["bos_token_id"] = 0;
  tiny_.config["eos_token_id"] = 13;
  put("generation_config.json", Json{{"eos_token_id", {13, 14}}});
  auto entries = metadata();
  expect_entry(entries, "tokenizer.ggml.bos_token_id", uint32_t{12});
  expect_entry(entries, "tokenizer.ggml.eos_token_id", uint32_t{13});
  expect_entry(entries, "tokenizer.ggml.padding_token_id", uint32_t{14});
  expect_entry(entries, "tokenizer.ggml.eot_token_id", uint32_t{14});
  put("generation_config.json", Json{{"eos_token_id", {13, 14, 15}}});
  entries = metadata();
  EXPECT_EQ(find(entries, "tokenizer.ggml.eot_token_id"), nullptr);
  EXPECT_THAT(notes_, Contains("2 tokens beside EOS end a text: GGUF cannot list them"));
}

TEST_F(TinyFolder, TemplatesForChats) {
  put("tokenizer.json", byte_level());
  put("tokenizer_config.json", Json{{"chat_template", "{{ x }}"}});
  expect_entry(metadata(), "tokenizer.chat_template", std::string("{{ x }}"));
  put("tokenizer_config.json",
      Json{{"chat_template", {{{"name", "default"}, {"template", "a"}}, {{"name", "rag"}, {"template", "b"}}}}});
  const auto entries = metadata();
  expect_entry(entries, "tokenizer.chat_template", std::string("a"));
  expect_entry(entries, "tokenizer.chat_template.rag", std::string("b"));
  expect_entry(entries, "tokenizer.chat_templates", std::vector<std::string>{"rag"});
  put("chat_template.jinja", std::string("{{ y }}"));
  expect_entry(metadata(), "tokenizer.chat_template", std::string("{{ y }}"));
}

TEST_F(TinyFolder, TokenizersThatLlamaCppLacksAreRefused) {
  Json json = byte_level();
  json["normalizer"] = {{"type", "Lowercase"}};
  put("tokenizer.json", json);
  expect_error(ErrorCode::unsupported, "write GGUF: a tokenizer that cuts text into words by", [&] { metadata(); });
}

TEST_F(TinyFolder, ConfigurationsThatGgufLacksAreRefused) {
  tiny_.config["hidden_act"] = "gelu_pytorch_tanh";
  expect_error(ErrorCode::unsupported, "write GGUF: the activation is gelu; expected silu", [&] { metadata(); });
  tiny_ = TinyModel("llama_dynamic");
  expect_error(ErrorCode::unsupported, "write GGUF: rope scaling of type 'dynamic'", [&] { metadata(); });
  tiny_ = TinyModel("qwen2_window");
  expect_error(ErrorCode::unsupported, "write GGUF: the window of layer", [&] { metadata(); });
  tiny_ = TinyModel("smollm3");
  tiny_.config["layer_types"] = nullptr;
  tiny_.config["use_sliding_window"] = false;
  expect_error(ErrorCode::unsupported, "write GGUF: rotary embedding of layer", [&] { metadata(); });
  tiny_ = TinyModel("gemma2");
  expect_error(ErrorCode::unsupported, "which llama.cpp takes for granted", [&] { metadata(); });
}

TEST_F(TinyFolder, AWindowThatLlamaCppLacksIsTold) {
  tiny_ = TinyModel("mistral");
  tiny_.config["sliding_window"] = 5;
  const auto entries = metadata();
  expect_entry(entries, "general.architecture", std::string("llama"));
  expect_entry(entries, "llama.attention.sliding_window", uint32_t{5});
  EXPECT_THAT(notes_, Contains("each token of the model sees 5 tokens before it; llama.cpp lets it see all"));
}

TEST_F(TinyFolder, WhatLlamaCppComputesOtherwiseIsTold) {
  tiny_ = TinyModel("gpt_oss");
  metadata();
  EXPECT_THAT(notes_, Contains("the bounds of the model's rope scaling are not whole numbers; llama.cpp rounds them"));
  tiny_ = TinyModel("qwen3_5");
  metadata();
  EXPECT_THAT(notes_, Contains(HasSubstr("keys of 16 and values of 12 dimensions")));
  EXPECT_THAT(notes_, Contains(HasSubstr("with the norms' epsilon, 0.02; the model has 1e-06 there")));
  tiny_.config["rms_norm_eps"] = 1e-6;
  metadata();
  EXPECT_THAT(notes_, Not(Contains(HasSubstr("epsilon"))));
  tiny_ = TinyModel("llama_yarn");
  tiny_.config["rope_scaling"]["beta_fast"] = 16.0;
  metadata();
  EXPECT_THAT(notes_, Contains("the model's rope scaling has the bounds 16 and 1; llama.cpp takes 32 and 1"));
  tiny_ = TinyModel("llama_yarn");
  metadata();
  EXPECT_EQ(notes_.size(), 1U);  // of the tokenizer that is not there
}

TEST(GgufMetadata, OfAGgufAreItsOwn) {
  const TemporaryFolder folder;
  GgufBuilder builder = TinyGguf().builder();
  builder.u32("general.file_type", 2).u32("general.quantization_version", 1).u32("general.alignment", 32);
  builder.string("quantize.imatrix.file", "x").u32("split.count", 1).string("zoo", "last").string("ant", "later");
  builder.write(folder / "m.gguf");
  std::vector<std::string> notes, keys;
  const auto entries = gguf_metadata(*open_model(folder / "m.gguf"), notes);
  for (const GgufEntry& entry : entries) keys.push_back(entry.key);
  EXPECT_THAT(notes, IsEmpty());
  EXPECT_EQ(keys.front(), "general.architecture");
  EXPECT_EQ(std::vector(keys.end() - 4, keys.end()),
            (std::vector<std::string>{"zoo", "ant", "general.alignment", "general.quantization_version"}));
  expect_entry(entries, "general.quantization_version", uint32_t{2});
  for (const char* key : {"general.file_type", "quantize.imatrix.file", "split.count"}) {
    EXPECT_THAT(keys, Not(Contains(key)));
  }
}

// A GGUF model as the folder that is made of it: its configuration and the files beside.
class AsFolder : public FoldedSource {
 public:
  explicit AsFolder(const ModelSource& model) : FoldedSource(model, {}) {}
  const GgufFile* gguf() const override { return nullptr; }
};

// Of published models: what the folder made of one says is what its own file says, in all that llama.cpp reads.
TEST(GgufMetadata, OfAFolderMadeOfAGgufAreTheSame) {
  const char* const smollm = std::getenv("MXQ_SMOLLM2_GGUF");
  if (smollm == nullptr || !fs::exists(smollm)) GTEST_SKIP() << "MXQ_SMOLLM2_GGUF names no file";
  for (const auto& found : fs::directory_iterator(fs::path(smollm).parent_path())) {
    if (found.path().extension() != ".gguf") continue;
    SCOPED_TRACE(found.path().filename().string());
    const auto model = open_model(found.path());
    const GgufFile& wanted = *model->gguf();
    std::vector<std::string> notes;
    const std::string bytes = gguf_header(gguf_metadata(AsFolder(*model), notes), {});
    EXPECT_THAT(notes, IsEmpty());
    const GgufFile file = parse_gguf(std::as_bytes(std::span(bytes)), "written.gguf");
    for (const auto& [key, value] : wanted.metadata) {
      if (key.starts_with("general.") && key != "general.architecture") continue;
      if (key == "tokenizer.ggml.scores") {
        EXPECT_EQ(merges_from_scores(file, read_vocabulary(file)), merges_from_scores(wanted, read_vocabulary(wanted)));
        continue;
      }
      const GgufValue* const here = file.find(key);
      // What llama.cpp takes for granted.
      const auto* const flag = std::get_if<bool>(&value);
      if (here == nullptr && flag != nullptr && !*flag) continue;
      ASSERT_NE(here, nullptr) << key;
      EXPECT_TRUE(gguf_entry(key, *here) == gguf_entry(key, value)) << key;
    }
  }
}

}  // namespace
}  // namespace mxq
