// How rotary embeddings are read from config.json.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "expect_error.h"
#include "model/llama_config.h"

namespace mxq {
namespace {

using ::testing::ElementsAre;
using Json = nlohmann::json;

constexpr auto kInvalid = ErrorCode::invalid_file;

// transformers 5 writes the part of a head that rotates among rope_parameters, and its default beside them.
TEST(ModelConfig, RopeParametersMaySayThePartThatRotates) {
  Json json = llama();
  for (const char* field : {"rope_scaling", "rope_theta"}) json.erase(field);
  json["model_type"] = "qwen3_5_text";
  json["rope_parameters"] = {{"rope_type", "default"},
                             {"rope_theta", 1e7},
                             {"partial_rotary_factor", 0.5},
                             {"mrope_section", {11, 11, 10}},
                             {"mrope_interleaved", true}};
  EXPECT_EQ(parse(json).rotary_part, 0.5);
  json["partial_rotary_factor"] = 0.25;
  EXPECT_EQ(parse(json).rotary_part, 0.5);
  EXPECT_TRUE(parse(json).unsupported.empty() && parse(json).unknown_fields.empty());
  json["partial_rotary_factor"] = 0.75;
  EXPECT_THAT(parse(json).unsupported,
              ElementsAre(Unsupported{"'rope_parameters.partial_rotary_factor' is 0.5", "0.75"}));
  json["model_type"] = "llama";
  json.erase("partial_rotary_factor");
  EXPECT_THAT(parse(json).unsupported, ElementsAre(Unsupported{"'rope_parameters.partial_rotary_factor' is 0.5", "1"}));
}

// Of every type: read, written and read again it is the same.
TEST(ModelConfig, RopeScalings) {
  const auto read = [](const Json& scaling, const Json& beside = Json::object()) {
    Json json = llama();
    json["head_dim"] = 8;
    json["rope_scaling"] = scaling;
    json.update(beside);
    const ModelConfig config = parse(json);
    EXPECT_TRUE(config.unsupported.empty()) << config.unsupported.front().given;
    EXPECT_EQ(parse_hf_config(hf_config_json(config, DType::bf16), "config.json").rope, config.rope);
    return *config.rope.scaling;
  };
  const RopeScaling plain = read({{"type", "yarn"}, {"factor", 4.0}, {"beta_fast", nullptr}, {"mscale", 0}});
  EXPECT_EQ(plain.type, "yarn");
  EXPECT_EQ(plain.factor, 4);
  EXPECT_EQ(plain.beta_fast, 32);
  EXPECT_EQ(plain.beta_slow, 1);
  EXPECT_TRUE(plain.truncate);
  EXPECT_FALSE(plain.mscale);
  EXPECT_FALSE(plain.original_max_position_embeddings);
  const RopeScaling yarn = read({{"rope_type", "yarn"},
                                 {"factor", 40.0},
                                 {"beta_fast", 16},
                                 {"beta_slow", 2},
                                 {"mscale", 0.7},
                                 {"mscale_all_dim", 0.5},
                                 {"truncate", false},
                                 {"original_max_position_embeddings", 4096}});
  EXPECT_EQ(yarn.beta_fast, 16);
  EXPECT_EQ(yarn.beta_slow, 2);
  EXPECT_EQ(yarn.mscale, 0.7);
  EXPECT_EQ(yarn.mscale_all_dim, 0.5);
  EXPECT_FALSE(yarn.truncate);
  EXPECT_EQ(yarn.original_max_position_embeddings, 4096);
  EXPECT_EQ(read({{"rope_type", "yarn"}, {"factor", 40.0}, {"attention_factor", 1.5}}).attention_factor, 1.5);
  EXPECT_EQ(read({{"rope_type", "dynamic"}, {"factor", 2}}).factor, 2);
  const Json lists{{"rope_type", "longrope"}, {"short_factor", {1, 1, 2, 2}}, {"long_factor", {1, 2, 4, 8.5}}};
  const RopeScaling longrope = read(lists, {{"original_max_position_embeddings", 8192}});
  EXPECT_THAT(longrope.short_factor, ElementsAre(1, 1, 2, 2));
  EXPECT_THAT(longrope.long_factor, ElementsAre(1, 2, 4, 8.5));
  EXPECT_EQ(longrope.factor, 16);  // 131072 / 8192
  Json with = lists;
  with["factor"] = 3;
  EXPECT_EQ(read(with).factor, 3);
}

TEST(ModelConfig, RopeScalingsThatCannotBeRun) {
  const auto refused = [](const Json& scaling, const std::string& given, const Json& beside = Json::object()) {
    Json json = llama();
    json["head_dim"] = 8;
    json["rope_scaling"] = scaling;
    json.update(beside);
    const ModelConfig config = parse(json);
    ASSERT_FALSE(config.unsupported.empty()) << given;
    EXPECT_EQ(config.unsupported.front().given, given);
  };
  refused({{"rope_type", "ntk"}}, "'rope_scaling' of type \"ntk\"");
  for (const char* type : {"linear", "dynamic", "yarn"}) {
    refused({{"rope_type", type}}, "'rope_scaling' of type \"" + std::string(type) + "\" lacks 'factor'");
  }
  Json lists{{"rope_type", "longrope"}, {"short_factor", {1, 1, 2, 2}}, {"long_factor", {1, 2, 4}}};
  refused(lists, "'rope_scaling.long_factor' has 3 numbers", {{"original_max_position_embeddings", 8192}});
  lists["long_factor"].push_back(8);
  refused(lists, "'rope_scaling' of type \"longrope\" lacks 'factor'");
  lists["original_max_position_embeddings"] = 4096;
  refused(lists, "'original_max_position_embeddings' is 8192, and 4096 in 'rope_scaling'",
          {{"original_max_position_embeddings", 8192}});
  refused(lists,
          "'original_max_position_embeddings' stands in 'rope_scaling' alone, where transformers 4 does not look");
  lists.erase("short_factor");
  refused(lists, "'rope_scaling' of type \"longrope\" lacks 'short_factor'",
          {{"original_max_position_embeddings", 4096}});
  Json json = llama();
  json["rope_scaling"] = {{"rope_type", "longrope"}, {"long_factor", {1, 0}}};
  expect_error(kInvalid, "'long_factor' is [1,0]; expected a list of numbers above 0", [&] { parse(json); });
}

// Of Gemma 3 transformers 5 writes them by the kind of layer.
TEST(ModelConfig, RopeParametersByTheKindOfLayer) {
  Json json = llama();
  for (const char* field : {"rope_scaling", "rope_theta", "mlp_bias"}) json.erase(field);
  json["model_type"] = "gemma3_text";
  json["rope_parameters"] = {{"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 5e5}}},
                             {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 2e4}}}};
  const ModelConfig config = parse(json);
  EXPECT_THAT(config.unsupported, ElementsAre());
  EXPECT_THAT(config.unknown_fields, ElementsAre());
  EXPECT_EQ(config.rope.theta, 5e5);
  ASSERT_TRUE(config.rope.scaling);
  EXPECT_EQ(config.rope.scaling->factor, 8);
  ASSERT_TRUE(config.window_rope);
  EXPECT_EQ(config.window_rope->theta, 2e4);
  EXPECT_FALSE(config.window_rope->scaling);

  const auto refused = [&](const char* pointer, const Json& value, const Unsupported& wanted) {
    Json other = json;
    other[Json::json_pointer(pointer)] = value;
    EXPECT_THAT(parse(other).unsupported, ElementsAre(wanted)) << pointer;
  };
  refused("/rope_local_base_freq", 1e4,
          {"'rope_local_base_freq' is 10000, and 20000 in 'rope_parameters.sliding_attention'", "the same in both"});
  refused("/rope_parameters/sliding_attention/rope_type", "linear",
          {"'rope_parameters.sliding_attention' of type \"linear\"", "default"});
  refused("/rope_theta", 1e6,
          {"'rope_theta' is 1000000, and 500000 in 'rope_parameters.full_attention'", "the same in both"});
  json["rope_parameters"]["chunked_attention"] = Json::object();
  EXPECT_THAT(parse(json).unknown_fields, ElementsAre("rope_parameters.chunked_attention"));
  json["model_type"] = "qwen3";
  EXPECT_FALSE(parse(json).unsupported.empty());
}

}  // namespace
}  // namespace mxq
