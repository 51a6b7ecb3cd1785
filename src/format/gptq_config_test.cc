#include "format/gptq_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "expect_error.h"
#include "format/awq_config.h"
#include "mxq/error.h"

namespace mxq {
namespace {

using Json = nlohmann::json;

std::string config_with(const Json& quantization) {
  return Json{{"model_type", "llama"}, {"quantization_config", quantization}}.dump();
}

/// As GPTQModel writes it.
Json usual() {
  return {{"bits", 4},
          {"group_size", 128},
          {"desc_act", true},
          {"sym", true},
          {"lm_head", false},
          {"quant_method", "gptq"},
          {"checkpoint_format", "gptq"},
          {"pack_dtype", "int32"},
          {"dynamic", {{"+:.*layers\\.1\\..*", {{"bits", 8}, {"group_size", -1}}}, {"-:.*o_proj.*", Json::object()}}},
          {"meta", {{"quantizer", {"gptqmodel:7.7.0"}}, {"damp_percent", 0.05}}}};
}

TEST(GptqConfig, IsRead) {
  const auto packing = get_gptq_packing(config_with(usual()), "config.json");
  ASSERT_TRUE(packing);
  EXPECT_EQ(packing->schemes, (std::vector<GptqScheme>{{4, 128, true}, {8, 0, true}}));
  EXPECT_TRUE(packing->less_one);
  EXPECT_TRUE(packing->carries);
  EXPECT_TRUE(packing->by_activations);
  Json json{{"bits", 3}, {"group_size", -1}, {"checkpoint_format", "gptq_v2"}};
  const auto alone = get_gptq_packing_alone(json.dump(), "quantize_config.json");
  ASSERT_TRUE(alone);
  EXPECT_EQ(alone->schemes, (std::vector<GptqScheme>{{3, 0, false}}));
  EXPECT_FALSE(alone->less_one || alone->carries || alone->by_activations);
  json["quant_method"] = "awq";
  EXPECT_FALSE(get_gptq_packing_alone(json.dump(), "quantize_config.json"));
  EXPECT_FALSE(get_gptq_packing(config_with(json), "config.json"));
  EXPECT_FALSE(get_gptq_packing("{}", "config.json"));
}

TEST(GptqConfig, RulesMatchTheirModulesAlone) {
  GptqConfig config;
  config.usual = {4, 64, true};
  config.rules = {{"model.layers.1.self_attn", {"q_proj", "qkv_proj"}, GptqScheme{8, 32, true}},
                  {"model.layers.0.mlp", {"down_proj"}, {}}};
  const Json json = Json::parse(set_gptq_config("{\"model_type\": \"llama\"}", config, "config.json"));
  EXPECT_EQ(json["model_type"], "llama");
  const Json& said = json["quantization_config"];
  EXPECT_EQ(said, Json::parse(print_gptq_config(config)));
  EXPECT_EQ(said["checkpoint_format"], "gptq");
  EXPECT_EQ(said["quant_method"], "gptq");
  EXPECT_EQ(said["sym"], true);
  EXPECT_EQ(said["desc_act"], false);
  ASSERT_EQ(said["dynamic"].size(), 2u);
  for (const auto& [name, rule] : said["dynamic"].items()) {
    const bool excludes = name.starts_with("-:");
    ASSERT_TRUE(excludes || name.starts_with("+:")) << name;
    const std::regex expression(name.substr(2));
    EXPECT_EQ(rule, excludes ? Json::object() : Json({{"bits", 8}, {"group_size", 32}}));
    const auto matches = [&](const char* module) { return std::regex_search(module, expression); };
    EXPECT_EQ(matches("model.layers.1.self_attn.q_proj"), !excludes);
    EXPECT_EQ(matches("model.layers.1.self_attn.qkv_proj"), !excludes);
    EXPECT_EQ(matches("model.layers.0.mlp.down_proj"), excludes);
    for (const char* other :
         {"model.layers.11.self_attn.q_proj", "model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.q_proj_2",
          "model.layers.10.mlp.down_proj", "modelxlayers.1.self_attn.q_proj", "x.model.layers.0.mlp.down_proj"}) {
      EXPECT_FALSE(matches(other)) << other;
    }
  }
  const auto packing = get_gptq_packing(json.dump(), "config.json");
  ASSERT_TRUE(packing);
  EXPECT_EQ(packing->schemes, (std::vector<GptqScheme>{{4, 64, true}, {8, 32, true}}));
}

TEST(GptqConfig, WhatIsNotReadIsNamed) {
  const auto refuses = [](const char* key, const Json& value, ErrorCode code, const char* part) {
    Json json = usual();
    json[key] = value;
    expect_error(code, part, [&] { get_gptq_packing(config_with(json), "config.json"); });
  };
  const auto unsupported = ErrorCode::unsupported, invalid = ErrorCode::invalid_file;
  refuses("checkpoint_format", "gptq_p", unsupported, "'checkpoint_format' is \"gptq_p\"; expected gptq or gptq_v2");
  refuses("bits", 6, unsupported, "'bits' is 6; expected 2, 3, 4 or 8");
  refuses("bits", "4", invalid, "'bits' is \"4\"");
  refuses("group_size", 0, invalid, "'group_size' is 0");
  refuses("group_size", nullptr, invalid, "has no 'group_size'");
  refuses("pack_dtype", "int8", unsupported, "'pack_dtype' is \"int8\"");
  refuses("rotation", "hadamard", unsupported, "'rotation'");
  refuses("adapter", {{"name", "lora"}}, unsupported, "'adapter'");
  refuses("is_marlin_format", true, unsupported, "'is_marlin_format'");
  refuses("sym", 1, invalid, "'sym' is neither true nor false");
  refuses("dynamic", Json::array(), invalid, "'dynamic' is not an object");
  refuses("dynamic", {{"a.*", {{"bits", 5}}}}, unsupported, "'dynamic': 'a.*': 'bits' is 5");
  refuses("dynamic", {{"a.*", 5}}, invalid, "'a.*' is not an object");
}

TEST(AwqConfig, ComesBack) {
  AwqConfig config{64, {"model.layers.0.mlp.down_proj", "lm_head"}};
  const std::string text = set_awq_config("{\"model_type\": \"llama\"}", config, "config.json");
  const auto back = get_awq_config(text, "config.json");
  ASSERT_TRUE(back);
  EXPECT_EQ(back->group, 64);
  EXPECT_EQ(back->plain, config.plain);
  const Json said = Json::parse(text)["quantization_config"];
  EXPECT_EQ(said["version"], "gemm");
  EXPECT_EQ(said["bits"], 4);
  EXPECT_EQ(said["zero_point"], true);
  EXPECT_TRUE(said["dynamic"].contains("-:^model\\.layers\\.0\\.mlp\\.down_proj$"));
  EXPECT_FALSE(get_awq_config(config_with(usual()), "config.json"));
  EXPECT_EQ(get_awq_config_alone(R"({"w_bit": 4, "q_group_size": -1, "version": "GEMM"})", "quant_config.json").group,
            0);
}

TEST(AwqConfig, WhatIsNotReadIsNamed) {
  const auto refuses = [](const char* key, const Json& value, ErrorCode code, const char* part) {
    Json json = Json::parse(set_awq_config("{}", {}, "config.json"));
    json["quantization_config"][key] = value;
    expect_error(code, part, [&] { get_awq_config(json.dump(), "config.json"); });
  };
  refuses("bits", 8, ErrorCode::unsupported, "'bits' is 8; expected 4");
  refuses("version", "gemv_fast", ErrorCode::unsupported, "'version' is \"gemv_fast\"; expected gemm");
  refuses("backend", "llm-awq", ErrorCode::unsupported, "'backend' is \"llm-awq\"");
  refuses("pack_dtype", "int16", ErrorCode::unsupported, "'pack_dtype'");
  refuses("group_size", 0, ErrorCode::invalid_file, "'group_size' is 0");
  refuses("modules_to_not_convert", "lm_head", ErrorCode::invalid_file, "'modules_to_not_convert' is not a list");
}

}  // namespace
}  // namespace mxq
