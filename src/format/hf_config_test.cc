#include "format/hf_config.h"

#include <nlohmann/json.hpp>

#include "expect_error.h"

namespace mxq {
namespace {

using Json = nlohmann::json;

QuantizationConfig example() {
  QuantizationConfig config;
  config.fit = "mse";
  config.axis = 1;
  config.metadata = "q8";
  config.dtype = "BF16";
  config.matrices = {{"model.layers.0.mlp.up_proj", "b4g64", 160, 64, true, true, {}, {}, {}},
                     {"model.embed_tokens", "b8g32", 96, 64, false, false, 0, "f16", "F32"}};
  return config;
}

TEST(HfConfig, QuantizationRoundTrip) {
  const std::string json = set_quantization_config(R"({"model_type": "llama", "vocab_size": 96})", example(), "c");
  const Json parsed = Json::parse(json);
  EXPECT_EQ(parsed["vocab_size"], 96) << "other fields stay";
  EXPECT_EQ(parsed["quantization_config"]["quant_method"], "mxq");
  EXPECT_EQ(parsed["quantization_config"]["matrices"]["model.layers.0.mlp.up_proj"],
            (Json{{"scheme", "b4g64"}, {"rows", 160}, {"cols", 64}, {"column_scales", true}, {"rotated", true}}));
  EXPECT_EQ(parsed["quantization_config"]["version"], 2) << "for readers that do not know rotations";
  const auto again = get_quantization_config(json, "c");
  ASSERT_TRUE(again);
  ASSERT_EQ(again->matrices.size(), 2u);
  EXPECT_TRUE(again->matrices[0].column_scales);
  EXPECT_TRUE(again->matrices[0].rotated);
  EXPECT_FALSE(again->matrices[1].rotated);
  EXPECT_FALSE(again->matrices[0].axis);
  EXPECT_EQ(again->matrices[1].axis, 0);
  EXPECT_EQ(again->matrices[1].metadata, "f16");
  EXPECT_EQ(again->dtype, "BF16");
  EXPECT_FALSE(again->matrices[0].dtype);
  EXPECT_EQ(again->matrices[1].dtype, "F32");
  EXPECT_EQ(set_quantization_config(json, *again, "c"), json);

  const std::string plain = set_quantization_config(json, std::nullopt, "c");
  EXPECT_FALSE(Json::parse(plain).contains("quantization_config"));
  EXPECT_FALSE(get_quantization_config(plain, "c"));
}

TEST(HfConfig, OtherMethodsAreNotOurs) {
  EXPECT_FALSE(get_quantization_config(R"({"quantization_config": {"quant_method": "gptq"}})", "c"));
  EXPECT_FALSE(get_quantization_config(R"({"quantization_config": 3})", "c"));
}

TEST(HfConfig, TorchDtype) {
  EXPECT_EQ(Json::parse(set_torch_dtype("{}", "float16", "c")), (Json{{"torch_dtype", "float16"}}));
  EXPECT_EQ(Json::parse(set_torch_dtype(R"({"dtype": "bfloat16"})", "float32", "c")),
            (Json{{"torch_dtype", "float32"}, {"dtype", "float32"}}));
}

TEST(HfConfig, ErrorsNameTheField) {
  const auto changed = [](const char* pointer, Json value) {
    Json json = Json::parse(set_quantization_config("{}", example(), "c"));
    json[Json::json_pointer(pointer)] = std::move(value);
    return json.dump();
  };
  const auto refused = [&](const std::string& json, const char* says, ErrorCode code = ErrorCode::invalid_file) {
    expect_error(code, says, [&] { get_quantization_config(json, "config.json"); });
  };
  refused("", "config.json: not valid JSON (UTF-8) at byte 0 (line 1, column 1)");
  // Literals of Python's do not shift the place.
  refused("{\"a\": NaN, \"b\": [-Infinity,\n Infinity x]}", "not valid JSON (UTF-8) at byte 38 (line 2, column 11)");
  refused("{\"a\": 1e999}", "not valid JSON: number overflow parsing '1e999'; expected numbers that a double holds");
  refused("[]", "config.json: not a JSON object");
  refused(changed("/quantization_config/version", 3), "version 3", ErrorCode::unsupported);
  refused(changed("/quantization_config/version", 0), "version 0", ErrorCode::unsupported);
  refused(changed("/quantization_config/version", nullptr), "'version' is null");
  refused(changed("/quantization_config/axis", 2), "axis 2");
  refused(changed("/quantization_config/metadata", 8), "'metadata' is 8");
  refused(changed("/quantization_config/matrices", Json::array()), "'matrices' is not an object");
  const std::string matrix = "/quantization_config/matrices/model.embed_tokens";
  refused(changed(matrix.c_str(), 1), "'model.embed_tokens' is not an object");
  refused(changed((matrix + "/scheme").c_str(), 1), "model.embed_tokens: 'scheme' is 1");
  refused(changed((matrix + "/rotated").c_str(), "yes"), "model.embed_tokens: 'rotated' is \"yes\"");
  refused(changed((matrix + "/column_scales").c_str(), 1), "model.embed_tokens: 'column_scales' is 1");
  refused(changed((matrix + "/axis").c_str(), 7), "model.embed_tokens: axis 7");
  refused(changed((matrix + "/rows").c_str(), -1), "model.embed_tokens: -1 x 64");
  refused(changed((matrix + "/rows").c_str(), int64_t{1} << 40), "at most 2^50 weights");
}

}  // namespace
}  // namespace mxq
