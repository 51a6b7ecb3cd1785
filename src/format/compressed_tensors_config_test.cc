#include "format/compressed_tensors_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "expect_error.h"
#include "mxq/error.h"

namespace mxq {
namespace {

using Json = nlohmann::json;

std::string config_with(const Json& quantization) {
  return Json{{"model_type", "llama"}, {"quantization_config", quantization}}.dump();
}

/// As the package writes it.
Json usual() {
  return {
      {"quant_method", "compressed-tensors"},
      {"format", "pack-quantized"},
      {"ignore", {"lm_head"}},
      {"kv_cache_scheme", nullptr},
      {"config_groups",
       {{"group_0",
         {{"targets", {"Linear"}},
          {"input_activations", nullptr},
          {"weights",
           {{"num_bits", 4}, {"type", "int"}, {"symmetric", true}, {"strategy", "group"}, {"group_size", 128}}}}}}}};
}

Json& weights_of(Json& quantization) {
  return quantization["config_groups"]["group_0"]["weights"];
}

TEST(CompressedTensorsConfig, ComesBack) {
  CompressedTensorsConfig config;
  config.groups = {{{3, 64, true}, {"model.layers.0.self_attn.q_proj"}}, {{8, 0, false}, {"re:.*down_proj"}}};
  config.ignore = {"lm_head"};
  const std::string text = set_compressed_tensors("{\"model_type\": \"llama\"}", config, "config.json");
  const auto back = get_compressed_tensors(text, "config.json");
  ASSERT_TRUE(back);
  ASSERT_EQ(back->groups.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(back->groups[i].weights, config.groups[i].weights);
    EXPECT_EQ(back->groups[i].targets, config.groups[i].targets);
  }
  EXPECT_EQ(back->ignore, config.ignore);
  const Json json = Json::parse(text);
  EXPECT_EQ(json["model_type"], "llama");
  EXPECT_EQ(json["quantization_config"]["config_groups"]["group_0"]["weights"]["strategy"], "group");
  EXPECT_EQ(json["quantization_config"]["config_groups"]["group_1"]["weights"]["group_size"], -1);
  EXPECT_FALSE(get_compressed_tensors(set_compressed_tensors(text, {}, "config.json"), "config.json"));
}

TEST(CompressedTensorsConfig, IsOnlyThere) {
  EXPECT_FALSE(get_compressed_tensors("{}", "config.json"));
  EXPECT_FALSE(get_compressed_tensors(config_with({{"quant_method", "gptq"}}), "config.json"));
  const auto config = get_compressed_tensors(config_with(usual()), "config.json");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->groups.front().weights, (PackedWeights{4, 128, true}));
  Json channel = usual();
  weights_of(channel)["strategy"] = "channel";
  weights_of(channel)["group_size"] = nullptr;
  EXPECT_EQ(get_compressed_tensors(config_with(channel), "config.json")->groups.front().weights.group, 0);
}

TEST(CompressedTensorsConfig, WhatIsNotReadIsNamed) {
  const auto refuses = [](const Json& quantization, ErrorCode code, const char* part) {
    expect_error(code, part, [&] { get_compressed_tensors(config_with(quantization), "config.json"); });
  };
  Json json = usual();
  json["format"] = "float-quantized";
  refuses(json, ErrorCode::unsupported, "float-quantized");
  json = usual();
  json["kv_cache_scheme"] = {{"num_bits", 8}};
  refuses(json, ErrorCode::unsupported, "kv_cache_scheme");
  json = usual();
  json["sparsity_config"] = {{"format", "sparse-24-bitmask"}};
  refuses(json, ErrorCode::unsupported, "sparse-24-bitmask");
  json = usual();
  json["config_groups"]["group_0"]["input_activations"] = {{"num_bits", 8}};
  refuses(json, ErrorCode::unsupported, "input_activations");
  json = usual();
  json["config_groups"] = {{"W4A16", {"Linear"}}};
  refuses(json, ErrorCode::unsupported, "W4A16");
  json = usual();
  weights_of(json)["type"] = "float";
  refuses(json, ErrorCode::unsupported, "float");
  json = usual();
  weights_of(json)["strategy"] = "block";
  refuses(json, ErrorCode::unsupported, "block");
  json = usual();
  weights_of(json)["num_bits"] = 9;
  refuses(json, ErrorCode::invalid_file, "num_bits");
  json = usual();
  json.erase("config_groups");
  refuses(json, ErrorCode::invalid_file, "config_groups");
}

}  // namespace
}  // namespace mxq
