// What the MLX target promises is what its files hold, and what it writes comes back; what it has no place for is
// named.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "expect_error.h"
#include "export/mlx_model.h"
#include "export/target_fixture.h"
#include "format/safetensors.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {
namespace {

/// All matrices whose columns are whole groups; the tiny models' down_proj has 48.
struct MlxTargets : TargetFixture {
  MlxTargets() : TargetFixture(mlx_target(), {Fit::mse, 1, Metadata::bf16_bias}, {{"down_proj"}, true}) {}
};

TEST_F(MlxTargets, BytesAreWhatWasPromised) {
  for (const Metadata metadata : {Metadata::f16_bias, Metadata::bf16_bias}) {
    options.metadata = metadata;
    open("llama2");
    expect_promised_bytes(8'000);
  }
}

TEST_F(MlxTargets, ComesBackBitForBit) {
  for (const char* name : {"llama2", "qwen2", "gemma3", "phi3", "glm4", "cohere2", "olmo2"}) {
    SCOPED_TRACE(name);
    open(name);
    write();
    const auto again = open_model(out);
    for (const auto* tensor : matrices) {
      const SourceTensor* const stored = again->find(tensor->name);
      ASSERT_NE(stored, nullptr) << tensor->name;
      EXPECT_EQ(stored->stored_as, "b3g32");
      Values expected(static_cast<size_t>(tensor->elements()));
      dequantize_matrix(quantized(*tensor).view(), expected.data());
      EXPECT_EQ(weights_of(*again, *stored), expected) << tensor->name;
      EXPECT_EQ(again->exact_layout(*stored)->metadata, Metadata::bf16_bias);
      EXPECT_EQ(again->output_dtype(*stored), DType::bf16);
    }
    for (const auto& tensor : model->tensors()) {
      if (std::find(matrices.begin(), matrices.end(), &tensor) != matrices.end()) continue;
      Values expected = weights_of(*model, tensor);
      for (float& w : expected) w = f32_from_bf16(bf16_from_f32(w));
      EXPECT_EQ(weights_of(*again, *again->find(tensor.name)), expected) << tensor.name;
    }
    EXPECT_FALSE(Json::parse(again->config_json()).contains("quantization"));
    std::filesystem::remove_all(folder.path() / "model");
    std::filesystem::remove_all(out);
  }
}

TEST_F(MlxTargets, TensorsAreNamedAndShapedAsMlxDoes) {
  open("llama2");
  write();
  const TensorStore store = open_safetensors(out);
  const std::string q = "model.layers.1.self_attn.q_proj";
  EXPECT_EQ(dtype_name(store.find(q + ".weight")->dtype), "U32");
  EXPECT_EQ(store.find(q + ".weight")->shape, (std::vector<int64_t>{32, 3}));
  EXPECT_EQ(store.find(q + ".scales")->shape, (std::vector<int64_t>{32, 1}));
  EXPECT_EQ(store.find(q + ".biases")->dtype, DType::bf16);
  EXPECT_EQ(store.find("model.norm.weight")->dtype, DType::bf16);
  const Json config = Json::parse(read_file(out / "config.json"));
  EXPECT_EQ(config["quantization"], config["quantization_config"]);
  EXPECT_EQ(config["quantization"][q], Json({{"bits", 3}, {"group_size", 32}}));
  EXPECT_EQ(config["quantization"]["model.layers.0.mlp.down_proj"], false);
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
}

/// transformers leaves out what is usual with it; mlx-lm takes other values for usual.
TEST_F(MlxTargets, FieldsThatMlxReadsAreAllThere) {
  TinyModel tiny("llama2");
  for (const char* field : {"tie_word_embeddings", "rope_theta", "attention_bias"}) tiny.config.erase(field);
  tiny.config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 10000.0}};
  tiny.write(folder.path() / "model");
  const auto opened = open_model(folder.path() / "model");
  const Json config = Json::parse(mlx_config_json(*opened, DType::f16));
  EXPECT_EQ(config["tie_word_embeddings"], false);
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["attention_bias"], false);
  open("gemma3");
  EXPECT_EQ(Json::parse(mlx_config_json(*model, DType::bf16))["sliding_window_pattern"], 2);
}

TEST_F(MlxTargets, DtypeIsThatOfTheModel) {
  open("llama2");
  EXPECT_EQ(mlx_target().usual_metadata(model.get()), Metadata::bf16_bias);  // of F32
  EXPECT_EQ(mlx_target().usual_metadata(nullptr), Metadata::f16_bias);
}

TEST_F(MlxTargets, ModelsThatMlxHasNotAreRefusedByName) {
  const auto refused = [&](const std::string& name, const char* why, const auto& change) {
    TinyModel tiny(name);
    change(tiny);
    std::filesystem::remove_all(folder.path() / "model");
    tiny.write(folder.path() / "model");
    const auto opened = open_model(folder.path() / "model");
    expect_error(ErrorCode::unsupported, why, [&] { mlx_target().check_model(*opened); });
  };
  const auto as_it_is = [](TinyModel&) {};
  for (const char* name : {"mixtral", "qwen3_moe", "gpt_oss", "qwen3_5", "ministral"}) {
    refused(name, "a model of the type", as_it_is);
  }
  refused("gemma2", "has no output matrix", [](TinyModel& tiny) { tiny.config["tie_word_embeddings"] = false; });
  refused("glm4", "has an output matrix", [](TinyModel& tiny) { tiny.config["tie_word_embeddings"] = true; });
  refused("llama2", "'lm_head.weight' beside the embedding",
          [](TinyModel& tiny) { tiny.config["tie_word_embeddings"] = true; });
  for (const char* name : {"llama_dynamic", "llama_longrope"}) refused(name, "'rope_scaling' of type", as_it_is);
  refused("llama_yarn_scaled", "'rope_scaling' of type 'yarn' with", as_it_is);
  refused("qwen3_pattern", "biases, which mlx-lm's qwen3 has not", as_it_is);
  refused("llama2", "hidden_act", [](TinyModel& tiny) { tiny.config["hidden_act"] = "gelu"; });
}

TEST_F(MlxTargets, LengthsThatMlxComputesOtherwiseAreTold) {
  for (const auto& [name, said] : {std::pair{"mistral", "no sliding window: the model has one of 7 tokens"},
                                   std::pair{"phi3_longrope", "'long_factor'"}, std::pair{"gemma3", ""}}) {
    std::filesystem::remove_all(folder.path() / "model");
    open(name);
    std::vector<std::string> notes;
    mlx_tensors(*model, notes);
    EXPECT_EQ(notes.size(), *said != 0) << name;
    if (*said != 0) {
      EXPECT_THAT(notes, testing::Contains(testing::HasSubstr(said)));
    }
  }
}

TEST_F(MlxTargets, WhatTheFormatHasNoPlaceForIsNamed) {
  const auto refused = [](QuantizeOptions how, Scheme in, const char* why) {
    expect_error(ErrorCode::usage, why, [&] { mlx_target().check(how, {&in, 1}); });
  };
  const QuantizeOptions right{Fit::mse, 1, Metadata::f16_bias};
  mlx_target().check(right, wide_schemes());
  refused(right, parse_scheme("gauss3g64"), "gauss3g64 for the format mlx; expected b2, b3");
  refused(right, {4, 16}, "b4g16 for the format mlx");
  refused({Fit::mse, 1, Metadata::q8}, {4, 64}, "metadata: q8 for the format mlx; expected f16-bias (numbers");
  refused({Fit::mse, 0, Metadata::f16_bias}, {4, 64}, "axis: 0 for the format mlx");
  refused({Fit::awq, 1, Metadata::f16_bias}, {4, 64}, "fit: awq for the format mlx");
  refused({Fit::mse, 1, Metadata::f16_bias, Normalize::rotation}, {4, 64}, "normalize: rotation for the format mlx");
  open("llama2");
  options.metadata = Metadata::f16;
  expect_error(ErrorCode::usage, "f16 for the format mlx", [&] { write(); });
  options.metadata = Metadata::f16_bias;
  scheme.group = 64;
  expect_error(ErrorCode::usage, "64 x 32, in b3g64; expected groups that divide its columns", [&] { write(); });
}

TEST_F(MlxTargets, NothingIsLeftOfWhatFails) {
  open("llama2");
  Export what = all_in_one_scheme();
  what.matrices.back().make = []() -> QuantizedMatrix { throw Error(ErrorCode::io, "test", "stopped"); };
  EXPECT_THROW(mlx_target().write(what, {out, false, {}}, {}, nullptr), Error);
  EXPECT_FALSE(std::filesystem::exists(out));
}

/// Folders of mlx-lm that are broken or of another kind.
TEST_F(MlxTargets, WhatIsNotReadIsNamed) {
  open("llama2");
  write();
  const std::string good = read_file(out / "config.json");
  const auto refused = [&](ErrorCode code, const char* why, const std::function<void(Json&)>& change) {
    Json config = Json::parse(good);
    change(config["quantization"]);
    std::ofstream(out / "config.json") << config.dump();
    expect_error(code, why, [&] { open_model(out); });
  };
  const std::string q = "model.layers.1.self_attn.q_proj";
  refused(ErrorCode::unsupported, "quantized in the mode 'mxfp4'; expected affine",
          [&](Json& json) { json[q]["mode"] = "mxfp4"; });
  refused(ErrorCode::invalid_file, "rows of 96 bits, and 5 bits", [&](Json& json) { json[q]["bits"] = 5; });
  refused(ErrorCode::invalid_file, "has 32 elements; expected 32 x 2", [&](Json& json) { json[q]["group_size"] = 16; });
  // As mlx_lm.convert writes it where all matrices are alike.
  Json config = Json::parse(good);
  config["quantization"] = {{"group_size", 32}, {"bits", 3}, {"mode", "affine"}};
  std::ofstream(out / "config.json") << config.dump();
  EXPECT_EQ(open_model(out)->find(q + ".weight")->stored_as, "b3g32");
}

}  // namespace
}  // namespace mxq
