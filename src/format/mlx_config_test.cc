#include "format/mlx_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "expect_error.h"

namespace mxq {
namespace {

using Json = nlohmann::json;

TEST(MlxConfig, ComesBack) {
  MlxQuantization written{{4, 64, "affine"}, {{"lm_head", std::nullopt}, {"model.embed_tokens", {{8, 32, "affine"}}}}};
  const std::string text =
      set_mlx_quantization(R"({"model_type": "llama", "quantization": {"bits": 2}})", written, "config.json");
  const Json json = Json::parse(text);
  EXPECT_EQ(json["model_type"], "llama");
  EXPECT_EQ(json["quantization"], json["quantization_config"]);
  EXPECT_EQ(json["quantization"], Json::parse(R"({"group_size": 64, "bits": 4, "mode": "affine", "lm_head": false,
                                                  "model.embed_tokens": {"group_size": 32, "bits": 8}})"));
  const auto read = get_mlx_quantization(text, "config.json");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->usual.bits, 4);
  EXPECT_EQ(read->usual.group, 64);
  EXPECT_FALSE(read->modules.at("lm_head"));
  EXPECT_EQ(read->modules.at("model.embed_tokens")->bits, 8);
  EXPECT_EQ(Json::parse(set_mlx_quantization(text, std::nullopt, "config.json")), Json({{"model_type", "llama"}}));
}

TEST(MlxConfig, OfOthersIsAbsentAndWhatIsWrongIsNamed) {
  EXPECT_FALSE(get_mlx_quantization("{}", "c"));
  EXPECT_FALSE(get_mlx_quantization(R"({"quantization": "none"})", "c"));
  EXPECT_FALSE(get_mlx_quantization(R"({"quantization_config": {"bits": 4, "group_size": 64}})", "c"));
  EXPECT_EQ(get_mlx_quantization(R"({"quantization": {"bits": 4, "group_size": 64, "a": {"bits": 4, "group_size": 32,
                                                       "mode": "mxfp4"}}})",
                                 "c")
                ->modules.at("a")
                ->mode,
            "mxfp4");
  expect_error(ErrorCode::invalid_file, "quantization: 'bits' is missing",
               [] { get_mlx_quantization(R"({"quantization": {"group_size": 64}})", "c"); });
  expect_error(ErrorCode::invalid_file, "a.b: 'bits' is 0", [] {
    get_mlx_quantization(R"({"quantization": {"group_size": 64, "bits": 4, "a.b": {"group_size": 32, "bits": 0}}})",
                         "c");
  });
  expect_error(ErrorCode::invalid_file, "not a JSON object", [] { get_mlx_quantization("[]", "c"); });
}

TEST(MlxConfig, FieldsAreAddedWhereNoneIs) {
  const std::string text = add_missing_fields(R"({"a": 1, "b": null})", R"({"a": 2, "b": 3, "c": 4})", "c");
  EXPECT_EQ(Json::parse(text), Json::parse(R"({"a": 1, "b": null, "c": 4})"));
}

}  // namespace
}  // namespace mxq
