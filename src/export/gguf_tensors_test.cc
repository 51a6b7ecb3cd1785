// Tiny models of every architecture, written as GGUF and read again.
#include "export/gguf_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>

#include "base/mapped_file.h"
#include "expect_error.h"
#include "export/tiny_gguf_file.h"
#include "model/folded_source.h"
#include "model/tiny_model_gguf.h"
#include "temporary_folder.h"
#include "tiny_gguf.h"

namespace mxq {
namespace {

using testing::ElementsAre;
using testing::FloatNear;
using testing::HasSubstr;
using testing::Pointwise;

std::vector<float> floats(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

Values read_all(const ModelSource& model, const SourceTensor& tensor) {
  Values values(static_cast<size_t>(tensor.elements()));
  model.read(tensor, values.data());
  return values;
}

// Of A_log the file holds -exp(A_log).
float tolerance(const std::string& name) {
  return name.ends_with(".A_log") || name.ends_with(".ssm_a") ? 1e-6F : 0;
}

class TinyModelAsGguf : public testing::TestWithParam<std::string> {
 protected:
  const TemporaryFolder folder_;
};

TEST_P(TinyModelAsGguf, IsReadBackTheSame) {
  TinyModel(GetParam()).write(folder_ / "model");
  const auto wanted = open_model(folder_ / "model");
  write_f32_gguf(*wanted, folder_ / "tiny.gguf", /*rows=*/3);
  const auto model = open_model(folder_ / "tiny.gguf");
  ModelConfig config = *wanted->config();
  // Without a window Mistral is Llama, and GGUF calls it so.
  if (config.architecture == "mistral" && !config.sliding_window) config.architecture = "llama";
  EXPECT_EQ(hf_config_json(*model->config(), DType::f32), hf_config_json(config, DType::f32));
  EXPECT_TRUE(*model->config() == config);
  EXPECT_EQ(model->tensors().size(), wanted->tensors().size());
  for (const SourceTensor& tensor : wanted->tensors()) {
    const SourceTensor* const found = model->find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
    EXPECT_THAT(read_all(*model, *found), Pointwise(FloatNear(tolerance(tensor.name)), read_all(*wanted, tensor)))
        << tensor.name;
  }
}

// The other description of what llama.cpp's converter writes, by which the reader is tested.
TEST_P(TinyModelAsGguf, IsTheFileOfTheConverter) {
  if (GetParam() == "llama_longrope" || GetParam() == "qwen3_5_moe_all") return;  // which it does not write so
  const TinyModel tiny(GetParam());
  tiny.write(folder_ / "model");
  write_f32_gguf(*open_model(folder_ / "model"), folder_ / "tiny.gguf");
  const MappedFile mapped(folder_ / "tiny.gguf");
  const GgufFile file = parse_gguf(mapped.bytes(), "tiny.gguf");
  const std::string bytes = TinyConversion(tiny).builder().build();
  const GgufFile wanted = parse_gguf(std::as_bytes(std::span(bytes)), "converted.gguf");
  std::map<std::string, const TensorView*> written;
  for (const TensorView& view : file.tensors) written[view.name] = &view;
  EXPECT_EQ(written.size(), wanted.tensors.size());
  for (const TensorView& view : wanted.tensors) {
    ASSERT_TRUE(written.contains(view.name)) << view.name;
    auto shape = view.shape;
    if (view.name.ends_with("ffn_gate_inp_shexp.weight")) shape.erase(shape.begin());  // the same to ggml
    EXPECT_EQ(written[view.name]->shape, shape) << view.name;
    EXPECT_THAT(floats(written[view.name]->bytes), Pointwise(FloatNear(tolerance("." + view.name)), floats(view.bytes)))
        << view.name;
  }
  for (const auto& [key, value] : wanted.metadata) {
    if (key == "phi3.attention.sliding_window" && *wanted.find_u32(key) == 0) continue;  // the same as no key
    // Of an original length without scaling llama.cpp makes no use.
    if (key == "phi3.rope.scaling.original_context_length" && file.find("phi3.rope.scaling.type") == nullptr) continue;
    if (key.ends_with("rope.scaling.type") && *wanted.find_string(key) == "none") continue;  // likewise
    const GgufValue* const found = file.find(key);
    ASSERT_NE(found, nullptr) << key;
    const GgufEntry here = gguf_entry(key, *found), there = gguf_entry(key, value);
    if (std::holds_alternative<float>(there.value)) {
      EXPECT_FLOAT_EQ(std::get<float>(here.value), std::get<float>(there.value)) << key;
    } else {
      EXPECT_TRUE(here == there) << key;
    }
  }
}

TEST_P(TinyModelAsGguf, IsWrittenTheSameFromGguf) {
  TinyModel(GetParam()).write(folder_ / "model");
  write_f32_gguf(*open_model(folder_ / "model"), folder_ / "first.gguf");
  const auto model = open_model(folder_ / "first.gguf");
  std::vector<std::string> notes;
  const auto tensors = gguf_tensors(*model, notes);
  EXPECT_THAT(notes, ElementsAre());
  ASSERT_EQ(tensors.size(), model->gguf()->tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const GgufTensor& tensor = tensors[i];
    EXPECT_EQ(tensor.name, model->gguf()->tensors[i].name);
    ASSERT_TRUE(tensor.stored) << tensor.name;
    EXPECT_EQ(tensor.stored->bytes.data(), model->gguf()->tensors[i].bytes.data());
    Values values(static_cast<size_t>(tensor.row_count() * tensor.row_size()));
    read_gguf_rows(*model, tensor, 0, tensor.row_count(), values.data());
    EXPECT_THAT(values, Pointwise(FloatNear(tolerance("." + tensor.name)), floats(tensor.stored->bytes)))
        << tensor.name;
  }
  auto entries = gguf_metadata(*model, notes);
  entries.push_back({"general.file_type", uint32_t{0}});
  std::vector<GgufEntry> wanted;
  for (const std::string& key : model->gguf()->keys) wanted.push_back(gguf_entry(key, *model->gguf()->find(key)));
  EXPECT_TRUE(entries == wanted);
}

// Mixtral is Llama to GGUF, and longrope there is of no converter.
std::vector<std::string> written_names() {
  auto names = gguf_model_names();
  for (const char* name : {"mixtral", "mixtral_all", "qwen3_5_moe_all", "llama_longrope"}) names.emplace_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, TinyModelAsGguf, testing::ValuesIn(written_names()),
                         [](const auto& param) { return param.param; });

// What GGUF cannot say is refused, not lost.
TEST(GgufTensors, OtherTinyModelsAreRefused) {
  const TemporaryFolder folder;
  const auto written = written_names();
  for (const std::string& name : model_names()) {
    if (std::find(written.begin(), written.end(), name) != written.end()) continue;
    TinyModel(name).write(folder / name);
    const auto model = open_model(folder / name);
    std::vector<std::string> notes;
    expect_error(ErrorCode::unsupported, "write GGUF: ", [&] {
      gguf_metadata(*model, notes);
      ADD_FAILURE() << name;
    });
  }
}

TEST(GgufTensors, ArchitecturesThatGgufHasNot) {
  const TemporaryFolder folder;
  for (const char* name : {"ministral"}) {
    TinyModel(name).write(folder / name);
    const auto model = open_model(folder / name);
    std::vector<std::string> notes;
    expect_error(ErrorCode::unsupported, "write GGUF: architecture 'ministral'; expected llama, mistral, qwen2",
                 [&] { gguf_tensors(*model, notes); });
  }
}

TEST(GgufTensors, LlamasInTheirOrder) {
  const TemporaryFolder folder;
  TinyGguf tiny;
  tiny.separate_output = true;
  tiny.builder().write(folder / "m.gguf");
  const auto model = open_model(folder / "m.gguf");
  std::vector<std::string> notes, names;
  const auto tensors = gguf_tensors(*model, notes);
  for (const GgufTensor& tensor : tensors) names.push_back(tensor.name);
  ASSERT_EQ(names.size(), 21U);
  EXPECT_EQ(std::vector(names.begin(), names.begin() + 4),
            (std::vector<std::string>{"token_embd.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.weight",
                                      "blk.0.attn_k.weight"}));
  EXPECT_EQ(names[19], "output_norm.weight");
  EXPECT_EQ(names[20], "output.weight");
  // Heads of 8 rows: HF's first and fifth lie beside one another.
  EXPECT_EQ(std::vector(tensors[2].rows.begin(), tensors[2].rows.begin() + 10),
            (std::vector<int64_t>{0, 4, 1, 5, 2, 6, 3, 7, 8, 12}));
  EXPECT_TRUE(tensors[2].is_matrix());
  EXPECT_FALSE(tensors[1].is_matrix());
  EXPECT_EQ(tensors[2].place(1), (std::pair{model->find("model.layers.0.self_attn.q_proj.weight"), int64_t{4}}));
  Values one(32);
  expect_error(ErrorCode::usage, "2 rows from row 31 on",
               [&] { read_gguf_rows(*model, tensors[2], 31, 2, one.data()); });
}

TEST(GgufTensors, WhatIsFoldedIsNotCopied) {
  const TemporaryFolder folder;
  TinyGguf().builder().write(folder / "m.gguf");
  const auto model = open_model(folder / "m.gguf");
  const std::string name = "model.layers.0.input_layernorm.weight";
  const FoldedSource folded(*model, {{name, Fold{.rows = std::vector<float>(32, 2), .cols = {}}}});
  std::vector<std::string> notes;
  for (const GgufTensor& tensor : gguf_tensors(folded, notes)) {
    EXPECT_EQ(tensor.stored.has_value(), tensor.name != "blk.0.attn_norm.weight") << tensor.name;
  }
}

class ChangedFolder : public testing::Test {
 protected:
  std::unique_ptr<ModelSource> open(const TinyModel& tiny) {
    tiny.write(folder_ / "model");
    return open_model(folder_ / "model");
  }
  const TemporaryFolder folder_;
  std::vector<std::string> notes_;
};

TEST_F(ChangedFolder, TensorsWithoutANameAreRefused) {
  TinyModel tiny("llama2");
  tiny.tensors["model.adapter.weight"] = {{2}, {1, 2}};
  const auto model = open(tiny);
  expect_error(ErrorCode::unsupported,
               "write GGUF: tensor 'model.adapter.weight'; expected those that GGUF has of llama",
               [&] { gguf_tensors(*model, notes_); });
}

TEST_F(ChangedFolder, WhatIsNotOfTheTextIsLeftOut) {
  TinyModel tiny("llama2");
  tiny.tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = {{2}, {1, 2}};
  tiny.tensors["model.layers.1.self_attn.extra.weight"] = {{2}, {1, 2}};
  tiny.tensors["vision_tower.patch.weight"] = {{2}, {1, 2}};
  const auto model = open(tiny);
  const auto tensors = gguf_tensors(*model, notes_);
  EXPECT_EQ(tensors.size() + 3, model->tensors().size());
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("1 tensors, such as 'vision_tower.patch.weight'"),
                                  HasSubstr("1 tensors, such as 'model.layers.1.self_attn.extra.weight'")));
}

TEST_F(ChangedFolder, LayersThatForetellMore) {
  TinyModel tiny("qwen3_5");
  tiny.config["mtp_num_hidden_layers"] = 1;
  const std::vector<std::pair<std::string, std::string>> names{
      {"mtp.fc.weight", "blk.4.nextn.eh_proj.weight"},
      {"mtp.pre_fc_norm_hidden.weight", "blk.4.nextn.hnorm.weight"},
      {"mtp.layers.0.self_attn.q_proj.weight", "blk.4.attn_q.weight"},
      {"mtp.layers.0.input_layernorm.weight", "blk.4.attn_norm.weight"}};
  for (const auto& [hf, gguf] : names) tiny.tensors[hf] = {{4}, formula(hf, 4)};
  const auto wanted = open(tiny);
  write_f32_gguf(*wanted, folder_ / "tiny.gguf");
  const auto model = open_model(folder_ / "tiny.gguf");
  EXPECT_EQ(model->config()->mtp_layers, 1);
  EXPECT_TRUE(*model->config() == *wanted->config());
  EXPECT_EQ(model->tensors().size(), wanted->tensors().size());
  for (const auto& [hf, gguf] : names) {
    ASSERT_NE(model->find(hf), nullptr) << hf;
    EXPECT_EQ(read_all(*model, *model->find(hf)), tiny.tensors[hf].values) << hf;
    const auto& views = model->gguf()->tensors;
    EXPECT_TRUE(std::any_of(views.begin(), views.end(), [&](const auto& view) { return view.name == gguf; })) << gguf;
  }
  // One that has no name: the model is written without such layers.
  tiny.tensors["mtp.layers.0.mlp.other.weight"] = {{2}, {1, 2}};
  const auto other = open(tiny);
  EXPECT_EQ(gguf_mtp_layers(*other), 0);
  EXPECT_EQ(gguf_tensors(*other, notes_).size() + 5, other->tensors().size());
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("5 tensors, such as 'mtp.")));
}

TEST_F(ChangedFolder, MissingAndOddTensorsAreNamed) {
  TinyModel tiny("llama2");
  tiny.tensors.erase("model.layers.1.mlp.up_proj.weight");
  auto model = open(tiny);
  expect_error(ErrorCode::invalid_file, "tensor 'model.layers.1.mlp.up_proj.weight' is missing",
               [&] { gguf_tensors(*model, notes_); });
  tiny.tensors["model.layers.1.mlp.up_proj.weight"] = {{1, 2}, {1, 2}};
  model = open(tiny);
  expect_error(ErrorCode::invalid_file, "has shape [1, 2]; expected [", [&] { gguf_tensors(*model, notes_); });
}

}  // namespace
}  // namespace mxq
