// GGUF metadata against the config.json of the same model, and what is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "expect_error.h"
#include "gguf_builder.h"
#include "model/config.h"
#include "model/model_source.h"
#include "model/tiny_model_gguf.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;

ModelConfig config_of(const GgufBuilder& builder) {
  const std::string bytes = builder.build();
  return gguf_config(parse_gguf(std::as_bytes(std::span(bytes)), "tiny.gguf"));
}

ModelConfig config_of(const Json& json) {
  return parse_hf_config(json.dump(), "config.json");
}

// A tiny model whose GGUF lacks some keys and has others.
template <typename Change>
ModelConfig changed(const std::string& name, std::set<std::string> without, const Change& change) {
  TinyConversion tiny{TinyModel(name)};
  tiny.without = std::move(without);
  GgufBuilder builder = tiny.builder();
  change(builder);
  return config_of(builder);
}

void expect_refused(const ModelConfig& config, const std::string& given) {
  ASSERT_FALSE(config.unsupported.empty()) << given;
  EXPECT_EQ(config.unsupported.front().given, given);
}

class GgufOfTinyModel : public testing::TestWithParam<std::string> {};

TEST_P(GgufOfTinyModel, HasTheConfigurationOfTheFolder) {
  const TinyModel tiny(GetParam());
  ModelConfig wanted = config_of(tiny.config);
  // Without a window Mistral is Llama, and GGUF calls it so.
  if (wanted.architecture == "mistral" && !wanted.sliding_window) wanted.architecture = "llama";
  const ModelConfig config = config_of(TinyConversion(tiny).builder());
  EXPECT_EQ(hf_config_json(config, DType::f32), hf_config_json(wanted, DType::f32));
  EXPECT_TRUE(config == wanted);
  EXPECT_THAT(config.unknown_fields, ElementsAre());
}

// Row order, names and norms are undone to the bit, what was computed by exp() to the last digits.
TEST_P(GgufOfTinyModel, HasTheTensorsOfTheFolder) {
  const TemporaryFolder folder;
  const TinyModel tiny(GetParam());
  TinyConversion(tiny).builder().write(folder / "tiny.gguf");
  tiny.write(folder / "model");
  const auto model = open_model(folder / "tiny.gguf"), wanted = open_model(folder / "model");
  EXPECT_EQ(model->tensors().size(), wanted->tensors().size());
  for (const SourceTensor& tensor : wanted->tensors()) {
    const SourceTensor* found = model->find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
    Values values(static_cast<size_t>(tensor.elements())), expected(values.size());
    model->read(*found, values.data());
    wanted->read(tensor, expected.data());
    // Of A_log the file holds -exp(A_log).
    const float off = tensor.name.ends_with(".A_log") ? 1e-6F : 0;
    EXPECT_THAT(values, Pointwise(FloatNear(off), expected)) << tensor.name;
    EXPECT_EQ(model->output_dtype(*found), DType::f32);
    const auto bytes = model->plain_bytes(*found);
    if (bytes) {
      EXPECT_TRUE(std::ranges::equal(*bytes, std::as_bytes(std::span(expected)))) << tensor.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GgufOfTinyModel, testing::ValuesIn(gguf_model_names()),
                         [](const auto& param) { return param.param; });

class ConfigOfTinyModel : public testing::TestWithParam<std::string> {};

TEST_P(ConfigOfTinyModel, IsTheSameWrittenAndReadAgain) {
  const ModelConfig config = config_of(TinyModel(GetParam()).config);
  const std::string text = hf_config_json(config, DType::f32);
  const ModelConfig again = parse_hf_config(text, "config.json");
  EXPECT_EQ(hf_config_json(again, DType::f32), text);
  EXPECT_TRUE(again == config);
}

INSTANTIATE_TEST_SUITE_P(Models, ConfigOfTinyModel, testing::ValuesIn(model_names()),
                         [](const auto& param) { return param.param; });

// A norm's 1 + w may be F16 or BF16 in a file: w is then computed in fp32.
TEST(GgufConfig, NormsOfGemmaInAnyDtype) {
  TinyConversion tiny{TinyModel("gemma3_usual")};
  tiny.without = {"output_norm.weight"};
  GgufBuilder builder = tiny.builder();
  std::string ones;
  for (int i = 0; i < 32; ++i) ones += std::string("\xc0\x3f", 2);  // 1.5 in BF16
  builder.tensor("output_norm.weight", 30, {32}, ones);
  const TemporaryFolder folder;
  builder.write(folder / "tiny.gguf");
  const auto model = open_model(folder / "tiny.gguf");
  const SourceTensor& norm = *model->find("model.norm.weight");
  Values values(32);
  model->read(norm, values.data());
  EXPECT_EQ(values, Values(32, 0.5F));
  EXPECT_EQ(model->output_dtype(norm), DType::f32);
  EXPECT_EQ(model->plain_bytes(norm), std::nullopt);
}

// Google's models of 27B divide scores by sqrt(hidden_size / heads), the others by sqrt(head_dim); files tell them by
// the number of layers. Values: query_pre_attn_scalar of the published models' config.json.
TEST(GgufConfig, ScalesOfGemmasScores) {
  struct Published {
    const char* architecture;
    uint32_t layers, hidden, heads, head;
    double scalar;
  };
  for (const auto& [architecture, layers, hidden, heads, head, scalar] :
       {Published{"gemma2", 26, 2304, 8, 256, 256}, Published{"gemma2", 42, 3584, 16, 256, 256},
        Published{"gemma2", 46, 4608, 32, 128, 144}, Published{"gemma3", 18, 640, 4, 256, 256},
        Published{"gemma3", 26, 1152, 4, 256, 256}, Published{"gemma3", 34, 2560, 8, 256, 256},
        Published{"gemma3", 48, 3840, 16, 256, 256}, Published{"gemma3", 62, 5376, 32, 128, 168}}) {
    const std::string prefix = architecture + std::string(".");
    GgufBuilder b;
    b.string("general.architecture", architecture).u32(prefix + "block_count", layers);
    b.u32(prefix + "context_length", 8192).u32(prefix + "embedding_length", hidden);
    b.u32(prefix + "feed_forward_length", 64).u32(prefix + "attention.head_count", heads);
    b.u32(prefix + "attention.key_length", head).u32(prefix + "attention.value_length", head);
    b.f32(prefix + "attention.layer_norm_rms_epsilon", 1e-6F).u32(prefix + "vocab_size", 8);
    b.u32(prefix + "attention.sliding_window", 512);
    const ModelConfig config = config_of(b);
    EXPECT_EQ(config.score_scale, 1 / std::sqrt(scalar)) << architecture << " of " << layers << " layers";
    EXPECT_EQ(config.embedding_scale, std::sqrt(hidden));
    EXPECT_EQ(config.activation, Activation::gelu);
    EXPECT_EQ(Json::parse(hf_config_json(config, DType::bf16))["query_pre_attn_scalar"], scalar);
  }
}

TEST(GgufConfig, WhatGemmaLeavesOut) {
  const auto nothing = [](GgufBuilder&) {};
  const ModelConfig plain = config_of(TinyModel("gemma2_usual").config);
  ModelConfig bare = changed("gemma2_usual", {"attn_logit_softcapping", "final_logit_softcapping"}, nothing);
  EXPECT_TRUE(bare == plain);
  bare = changed("gemma2_usual", {"attn_logit_softcapping", "attention.sliding_window"},
                 [](GgufBuilder& b) { b.f32("gemma2.attn_logit_softcapping", 0); });
  EXPECT_EQ(bare.score_cap, 0);
  EXPECT_EQ(bare.sliding_window, 4096);
  EXPECT_THAT(bare.window_layers, ElementsAre(true, false, true));

  const ModelConfig local =
      changed("gemma3_usual", {}, [](GgufBuilder& b) { b.f32("gemma3.rope.freq_base_swa", 5000); });
  EXPECT_EQ(local.window_rope, (RopeSettings{.theta = 5000, .scaling = {}}));
  // Converted from a model whose layers all see everything.
  for (const ModelConfig& config : {changed("gemma3_usual", {"attention.sliding_window"}, nothing),
                                    changed("gemma3_usual", {"attention.sliding_window"},
                                            [](GgufBuilder& b) { b.u32("gemma3.attention.sliding_window", 0); })}) {
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) EXPECT_EQ(config.window_of(layer), 0);
    EXPECT_TRUE(parse_hf_config(hf_config_json(config, DType::f32), "c") == config);
  }
}

TEST(GgufConfig, PatternsOfWindows) {
  const std::string key = "cohere2.attention.sliding_window_pattern";
  const auto layers = [&](const auto& change) { return changed("cohere2_usual", {}, change); };
  const ModelConfig second = layers([&](GgufBuilder& b) { b.u32(key, 2); });
  EXPECT_THAT(second.window_layers, ElementsAre(true, false, true, false, true));
  EXPECT_EQ(second.rope_layers, second.window_layers);
  const ModelConfig flags = layers([&](GgufBuilder& b) { b.numbers<uint8_t>(key, 7, {0, 1, 1, 0, 1}); });
  EXPECT_THAT(flags.window_layers, ElementsAre(false, true, true, false, true));
  const ModelConfig numbers = layers([&](GgufBuilder& b) { b.numbers<int32_t>(key, 5, {0, 1, 1, 0, 0}); });
  EXPECT_THAT(numbers.window_layers, ElementsAre(false, true, true, false, false));
  const auto refused = [&](const char* message, const auto& change) {
    expect_error(ErrorCode::invalid_file, message, [&] { layers(change); });
  };
  refused("sliding_window_pattern' has 2 entries; expected one for each of 5 layers", [&](GgufBuilder& b) {
    b.numbers<uint8_t>(key, 7, {0, 1});
  });
  refused("sliding_window_pattern' has 2; expected 0 or 1", [&](GgufBuilder& b) {
    b.numbers<int32_t>(key, 5, {0, 1, 2, 0, 0});
  });
  refused("sliding_window_pattern' is 0", [&](GgufBuilder& b) { b.u32(key, 0); });
}

TEST(GgufConfig, ScalesOfGranite) {
  const ModelConfig bare = changed(
      "granite", {"attention.scale", "embedding_scale", "residual_scale"},
      [](GgufBuilder& b) { b.f32("granite.residual_scale", 0).boolean("granite.rope.scaling.finetuned", true); });
  EXPECT_EQ(bare.score_scale, 1 / std::sqrt(8.0));
  EXPECT_EQ(bare.embedding_scale, 1);
  EXPECT_EQ(bare.residual_scale, 1);
  EXPECT_EQ(bare.logit_scale, 0.5);
  EXPECT_TRUE(bare.unsupported.empty());
  expect_refused(changed("granite", {}, [](GgufBuilder& b) { b.boolean("granite.rope.scaling.finetuned", false); }),
                 "'granite.rope.scaling.finetuned' is false");
  expect_error(ErrorCode::invalid_file, "metadata 'granite.logit_scale' is missing",
               [] { changed("granite", {"logit_scale"}, [](GgufBuilder&) {}); });
}

TEST(GgufConfig, Yarn) {
  const ModelConfig config = changed("llama_yarn", {}, [](GgufBuilder& b) {
    b.f32("llama.rope.scaling.yarn_beta_fast", 16).f32("llama.rope.scaling.yarn_beta_slow", 2);
    b.f32("llama.rope.scaling.yarn_attn_factor", 1.5F).f32("llama.rope.scaling.yarn_ext_factor", 1);
  });
  ASSERT_TRUE(config.rope.scaling);
  EXPECT_EQ(config.rope.scaling->beta_fast, 16);
  EXPECT_EQ(config.rope.scaling->beta_slow, 2);
  EXPECT_EQ(config.rope.scaling->attention_factor, 1.5);
  EXPECT_TRUE(config.unsupported.empty());
  expect_refused(
      changed("llama_yarn", {}, [](GgufBuilder& b) { b.f32("llama.rope.scaling.yarn_log_multiplier", 0.1F); }),
      "'llama.rope.scaling.yarn_log_multiplier' is 0.1");
}

// llama.cpp scales by a factor whose type is missing, and not by one whose type is none.
TEST(GgufConfig, FactorsWithoutAType) {
  const ModelConfig linear = config_of(TinyModel("llama_linear").config);
  EXPECT_TRUE(changed("llama_linear", {"rope.scaling.type"}, [](GgufBuilder&) {}) == linear);
  const ModelConfig none = changed("llama_linear", {"rope.scaling.type"},
                                   [](GgufBuilder& b) { b.string("llama.rope.scaling.type", "none"); });
  EXPECT_FALSE(none.rope.scaling);
}

TEST(GgufConfig, LongropeThatIsNotTransformers) {
  const std::string factor = "rope.scaling.attn_factor";
  expect_refused(changed("phi3_longrope", {factor}, [](GgufBuilder&) {}), "'phi3.rope.scaling.attn_factor' is missing");
  expect_refused(changed("phi3_longrope", {factor}, [&](GgufBuilder& b) { b.f32("phi3." + factor, 1.2F); }),
                 "'phi3.rope.scaling.attn_factor' is 1.2");
  expect_refused(changed("phi3", {}, [&](GgufBuilder& b) { b.f32("phi3." + factor, 1.2F); }),
                 "'phi3.rope.scaling.attn_factor' is 1.2");
  const auto refused = [](ErrorCode code, const char* message, std::set<std::string> without, const auto& change) {
    expect_error(code, message, [&] { changed("phi3_longrope", std::move(without), change); });
  };
  const auto nothing = [](GgufBuilder&) {};
  refused(ErrorCode::invalid_file, "tensor 'rope_factors_long.weight' is missing", {"rope_factors_long.weight"},
          nothing);
  refused(ErrorCode::invalid_file, "tensor 'rope_factors_short.weight' is missing", {"rope_factors_short.weight"},
          nothing);
  refused(ErrorCode::invalid_file, "'phi3.rope.scaling.original_context_length' is missing",
          {"rope.scaling.original_context_length"}, nothing);
  refused(ErrorCode::invalid_file, "tensor 'rope_factors_long.weight' has 3 numbers; expected 4, one for each pair",
          {"rope_factors_long.weight"}, [](GgufBuilder& b) {
            b.f32_tensor("rope_factors_long.weight", {3}, {1, 2, 3});
          });
  refused(ErrorCode::invalid_file, "tensor 'rope_factors_long.weight' has -1; expected numbers above 0",
          {"rope_factors_long.weight"}, [](GgufBuilder& b) {
            b.f32_tensor("rope_factors_long.weight", {4}, {1, 2, 3, -1});
          });
  refused(ErrorCode::unsupported, "rope scaling of type 'yarn'", {},
          [](GgufBuilder& b) { b.string("phi3.rope.scaling.type", "yarn"); });
  refused(ErrorCode::unsupported, "rope scaling of type 'ntk'", {},
          [](GgufBuilder& b) { b.string("phi3.rope.scaling.type", "ntk"); });
}

TEST(GgufConfig, RotatesPartsOfHeads) {
  const auto dims = [](uint32_t count) {
    return changed("glm4", {"rope.dimension_count"}, [&](GgufBuilder& b) { b.u32("glm4.rope.dimension_count", count); })
        .rotary_dim();
  };
  for (const uint32_t count : {2, 4, 6, 10, 14, 16}) EXPECT_EQ(dims(count), count);
  for (const uint32_t count : {5, 18}) {
    expect_error(ErrorCode::unsupported, "rotary embedding of " + std::to_string(count) + " of a head's 16 dimensions",
                 [&] { dims(count); });
  }
  expect_error(ErrorCode::unsupported, "rotary embedding of 8 of a head's 16 dimensions; expected all of them",
               [] { changed("gemma3_usual", {}, [](GgufBuilder& b) { b.u32("gemma3.rope.dimension_count", 8); }); });
}

// Which layers have linear attention: a list, else all but every fourth, as in llama.cpp.
TEST(GgufConfig, LayersWithLinearAttention) {
  const std::set<std::string> usual{"full_attention_interval"};
  const auto nothing = [](GgufBuilder&) {};
  EXPECT_THAT(changed("qwen3_next_usual", usual, nothing).linear.layers, ElementsAre(true, true, true, false, true));
  EXPECT_THAT(changed("qwen3_next_usual", usual, [](GgufBuilder& b) { b.u32("qwen3next.full_attention_interval", 2); })
                  .linear.layers,
              ElementsAre(true, false, true, false, true));
  const auto listed = [](std::vector<int32_t> flags) {
    return [flags](GgufBuilder& b) { b.numbers("qwen3next.attention.recurrent_layers", 5, flags); };
  };
  EXPECT_THAT(changed("qwen3_next_usual", {}, listed({0, 1, 1, 0, 1})).linear.layers,
              ElementsAre(false, true, true, false, true));
  const auto refused = [&](const std::string& message, const char* key, uint32_t value) {
    expect_error(ErrorCode::invalid_file, message, [&] {
      changed("qwen3_next_usual", {key}, [&](GgufBuilder& b) { b.u32(std::string("qwen3next.") + key, value); });
    });
  };
  expect_error(ErrorCode::invalid_file,
               "'qwen3next.attention.recurrent_layers' has 2 entries; expected one for each of 5 layers", [&] {
                 changed("qwen3_next_usual", {}, listed({0, 1}));
               });
  refused("'qwen3next.ssm.time_step_rank' is 5; expected a multiple of 'qwen3next.ssm.group_count' 2",
          "ssm.time_step_rank", 5);
  refused("'qwen3next.ssm.inner_size' is 49; expected a multiple of 'qwen3next.ssm.time_step_rank' 4", "ssm.inner_size",
          49);
  refused("'qwen3next.ssm.inner_size' is 400000; expected at most 16384 for each of 4 heads", "ssm.inner_size", 400000);
  refused("'qwen3next.ssm.conv_kernel' is 0", "ssm.conv_kernel", 0);
  expect_error(ErrorCode::invalid_file, "metadata 'qwen3next.ssm.state_size' is missing",
               [&] { changed("qwen3_next_usual", {"ssm.state_size"}, nothing); });
  expect_error(ErrorCode::invalid_file, "'qwen35.nextn_predict_layers' is 2; expected an integer from 0 to 1",
               [] { changed("qwen3_5", {}, [](GgufBuilder& b) { b.u32("qwen35.nextn_predict_layers", 2); }); });
  expect_error(ErrorCode::invalid_file, "'qwen35.block_count' is 1; expected more than 'qwen35.nextn_predict_layers' 1",
               [] {
                 changed("qwen3_5", {"block_count"}, [](GgufBuilder& b) {
                   b.u32("qwen35.block_count", 1);
                   b.u32("qwen35.nextn_predict_layers", 1);
                 });
               });
}

TEST(GgufConfig, RefusesByName) {
  const auto key = [](const char* model, const std::string& name, const auto& change, const std::string& given) {
    SCOPED_TRACE(name);
    expect_refused(changed(model, {}, change), "'" + name + "' is " + given);
  };
  key(
      "olmo2", "olmo2.attention.sliding_window", [](GgufBuilder& b) { b.u32("olmo2.attention.sliding_window", 4096); },
      "4096");
  key(
      "smollm3_usual", "smollm3.attention.sliding_window",
      [](GgufBuilder& b) { b.u32("smollm3.attention.sliding_window", 9); }, "9");
  key(
      "gemma2_usual", "gemma2.rope.freq_base_swa", [](GgufBuilder& b) { b.f32("gemma2.rope.freq_base_swa", 5); }, "5");
  key(
      "gemma3_usual", "gemma3.rope.global.freq_base",
      [](GgufBuilder& b) { b.f32("gemma3.rope.global.freq_base", 1e6F); }, "1000000");
  key(
      "gemma3_usual", "gemma3.attn_logit_softcapping",
      [](GgufBuilder& b) { b.f32("gemma3.attn_logit_softcapping", 50); }, "50");
  key(
      "gemma3_usual", "gemma3.attention.scale", [](GgufBuilder& b) { b.f32("gemma3.attention.scale", 0.5F); }, "0.5");
  key(
      "glm4", "glm4.rope.dimension_sections",
      [](GgufBuilder& b) {
        b.numbers<int32_t>("glm4.rope.dimension_sections", 5, {2, 1, 1, 0});
      },
      "a list");
  key(
      "glm4", "glm4.nextn_predict_layers", [](GgufBuilder& b) { b.u32("glm4.nextn_predict_layers", 1); }, "1");
  key(
      "phi3", "phi3.logit_scale", [](GgufBuilder& b) { b.f32("phi3.logit_scale", 2); }, "2");
  expect_refused(
      changed("gemma2_usual", {}, [](GgufBuilder& b) { b.f32_tensor("blk.0.ffn_gate.bias", {48}, Values(48)); }),
      "biases in a GGUF of gemma2");
  for (const char* missing : {"logit_scale", "attention.layer_norm_epsilon", "attention.sliding_window"}) {
    expect_error(ErrorCode::invalid_file, std::string("metadata 'cohere2.") + missing + "' is missing",
                 [&] { changed("cohere2_usual", {missing}, [](GgufBuilder&) {}); });
  }
}

TEST(GgufConfig, ContradictsItsTensors) {
  const TemporaryFolder folder;
  const auto refused = [&](const char* model, ErrorCode code, const std::string& message, std::set<std::string> without,
                           const auto& change) {
    TinyConversion tiny{TinyModel(model)};
    tiny.without = std::move(without);
    GgufBuilder builder = tiny.builder();
    change(builder);
    builder.write(folder / "tiny.gguf");
    expect_error(code, message, [&] { open_model(folder / "tiny.gguf"); });
  };
  const auto nothing = [](GgufBuilder&) {};
  const std::set<std::string> lengths{"attention.key_length", "attention.value_length"};
  const auto with_lengths = [](uint32_t keys, uint32_t values) {
    return [=](GgufBuilder& b) {
      b.u32("gemma3.attention.key_length", keys).u32("gemma3.attention.value_length", values);
    };
  };
  refused("gemma3_usual", ErrorCode::unsupported, "keys of 16 and values of 8 dimensions", lengths,
          with_lengths(16, 8));
  refused("gemma3_usual", ErrorCode::invalid_file,
          "tensor 'blk.0.attn_q.weight' has shape [64, 32]; expected [32, 32] by the metadata", lengths,
          with_lengths(8, 8));
  // Without the keys a head is hidden_size / heads.
  refused("gemma3_usual", ErrorCode::invalid_file, "tensor 'blk.0.attn_q.weight' has shape [64, 32]", lengths, nothing);
  for (const auto& [model, name] : {std::pair("gemma2_usual", "blk.2.post_ffw_norm.weight"),
                                    {"gemma3_usual", "blk.6.attn_q_norm.weight"},
                                    {"phi3", "blk.1.attn_qkv.weight"},
                                    {"phi3", "blk.0.ffn_up.weight"},
                                    {"glm4", "blk.1.post_attention_norm.weight"},
                                    {"olmo2", "blk.0.attn_k_norm.weight"},
                                    {"cohere2_usual", "output_norm.weight"}}) {
    refused(model, ErrorCode::invalid_file, std::string("tensor '") + name + "' is missing", {name}, nothing);
  }
  refused("olmo2", ErrorCode::unsupported, "tensor 'blk.0.attn_norm.weight'; expected those of olmo2", {},
          [](GgufBuilder& b) { b.f32_tensor("blk.0.attn_norm.weight", {32}, Values(32)); });
}

TEST(GgufConfig, ExpertsThatDoNotFitAreRefused) {
  const auto nothing = [](GgufBuilder&) {};
  expect_error(ErrorCode::invalid_file, "expert_used_count",
               [&] { changed("mixtral", {"expert_used_count"}, nothing); });
  expect_error(ErrorCode::invalid_file, "'llama.expert_used_count' is 9; expected an integer from 1 to 4", [&] {
    changed("mixtral", {"expert_used_count"}, [](GgufBuilder& b) { b.u32("llama.expert_used_count", 9); });
  });
  expect_error(ErrorCode::unsupported, "'gemma3' of 4 experts",
               [&] { changed("gemma3_usual", {}, [](GgufBuilder& b) { b.u32("gemma3.expert_count", 4); }); });
  expect_error(ErrorCode::unsupported, "'qwen2moe' of 0 experts",
               [&] { changed("qwen2_moe_all", {"expert_count"}, nothing); });
  expect_refused(changed("mixtral", {}, [](GgufBuilder& b) { b.u32("llama.expert_gating_func", 2); }),
                 "'llama.expert_gating_func' is 2");
  // llama.cpp shares the whole among a token's experts.
  EXPECT_EQ(changed("qwen2_moe_all", {"expert_feed_forward_length"}, nothing).mixture.intermediate_size, 48 / 3);

  expect_error(ErrorCode::invalid_file, "'gpt-oss.expert_feed_forward_length' is missing",
               [&] { changed("gpt_oss", {"expert_feed_forward_length"}, nothing); });
  expect_error(ErrorCode::invalid_file, "'gpt-oss.attention.sliding_window' is missing",
               [&] { changed("gpt_oss", {"attention.sliding_window"}, nothing); });
  expect_refused(changed("gpt_oss", {}, [](GgufBuilder& b) { b.u32("gpt-oss.expert_gating_func", 2); }),
                 "'gpt-oss.expert_gating_func' is 2");

  const TemporaryFolder folder;
  for (const char* name : {"blk.1.attn_sinks.weight", "blk.0.ffn_up_exps.bias", "blk.1.ffn_down_exps.bias",
                           "blk.0.ffn_gate_inp.bias", "blk.1.post_attention_norm.weight"}) {
    TinyConversion oss{TinyModel("gpt_oss")};
    oss.without = {name};
    oss.builder().write(folder / "oss.gguf");
    expect_error(ErrorCode::invalid_file, std::string("tensor '") + name + "' is missing",
                 [&] { open_model(folder / "oss.gguf"); });
  }
  TinyConversion wide{TinyModel("gpt_oss")};
  wide.without = {"blk.1.ffn_up_exps.bias"};
  GgufBuilder with_fewer = wide.builder();
  with_fewer.f32_tensor("blk.1.ffn_up_exps.bias", {3, 48}, Values(3 * 48)).write(folder / "oss.gguf");
  expect_error(ErrorCode::invalid_file, "'blk.1.ffn_up_exps.bias' has shape [3, 48]; expected a bias for each of 4",
               [&] { open_model(folder / "oss.gguf"); });
  TinyConversion tiny{TinyModel("mixtral")};
  tiny.without = {"blk.1.ffn_up_exps.weight"};
  tiny.builder().write(folder / "missing.gguf");
  expect_error(ErrorCode::invalid_file, "tensor 'blk.1.ffn_up_exps.weight' is missing",
               [&] { open_model(folder / "missing.gguf"); });
  GgufBuilder fewer = tiny.builder();
  fewer.f32_tensor("blk.1.ffn_up_exps.weight", {3, 48, 32}, Values(3 * 48 * 32));
  fewer.write(folder / "fewer.gguf");
  expect_error(ErrorCode::invalid_file,
               "'blk.1.ffn_up_exps.weight' has shape [3, 48, 32]; expected a matrix for each of 4",
               [&] { open_model(folder / "fewer.gguf"); });
}

}  // namespace
}  // namespace mxq
