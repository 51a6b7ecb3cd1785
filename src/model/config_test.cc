#include "model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "expect_error.h"
#include "gguf_builder.h"
#include "model/layer_tensors.h"
#include "model/llama_config.h"
#include "tiny_gguf.h"

namespace mxq {
namespace {

using ::testing::ElementsAre;
using Json = nlohmann::json;

constexpr auto kInvalid = ErrorCode::invalid_file;

TEST(ModelConfig, ArchitecturesThatAreNotRunMayCallTheirNumbersOtherwise) {
  const auto config = parse_hf_config(
      R"({"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "vocab_size": 384})", "c");
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.num_hidden_layers, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.max_position_embeddings, 512);
  EXPECT_EQ(kv_cache_bytes(config, 1), 2 * 2 * 2 * 64);
  // What is not there, or is no number, is not known.
  const auto bare = parse_hf_config(R"({"model_type": "x", "hidden_size": [1, 2]})", "c");
  EXPECT_EQ(bare.hidden_size, 0);
  EXPECT_EQ(kv_cache_bytes(bare, 1), 0);
  expect_error(kInvalid, "'hidden_size' is 0; expected an integer from 1",
               [] { parse_hf_config(R"({"model_type": "x", "hidden_size": 0})", "c"); });
}

TEST(ModelConfig, MixturesSayTheirExpertsAndLayers) {
  Json json = llama();
  json["model_type"] = "qwen3_moe";
  json["rope_scaling"] = nullptr;
  json["num_experts"] = 16;
  json["num_experts_per_tok"] = 4;
  json["decoder_sparse_step"] = 2;
  json["mlp_only_layers"] = {3};
  const ModelConfig config = parse(json);
  EXPECT_EQ(config.mixture.experts, 16);
  EXPECT_EQ(config.mixture.per_token, 4);
  EXPECT_EQ(config.mixture.intermediate_size, 768);
  EXPECT_FALSE(config.mixture.normalised);
  EXPECT_FALSE(config.has_experts(0));
  EXPECT_TRUE(config.has_experts(1));
  EXPECT_FALSE(config.has_experts(3)) << "named";
  EXPECT_EQ(find_layer_tensor(config, 1, "mlp.experts.15.up_proj")->expert, 15);
  for (const char* name :
       {"mlp.experts.16.up_proj", "mlp.experts.015.up_proj", "mlp.experts..up_proj", "mlp.up_proj"}) {
    EXPECT_FALSE(find_layer_tensor(config, 1, name)) << name;
  }
  EXPECT_TRUE(find_layer_tensor(config, 0, "mlp.up_proj"));

  const auto refused = [&](const char* field, const Json& value, const std::string& message) {
    Json other = json;
    other[field] = value;
    expect_error(kInvalid, message, [&] { parse(other); });
  };
  refused("num_experts_per_tok", 17, "'num_experts_per_tok' is 17; expected at most 'num_experts' 16");
  refused("num_experts_per_tok", 0, "'num_experts_per_tok' is 0");
  refused("num_experts", 1 << 20, "'num_experts' is 1048576");
  refused("mlp_only_layers", "all", "'mlp_only_layers' is \"all\"; expected a list of layers");
  refused("decoder_sparse_step", 0, "'decoder_sparse_step' is 0");
}

// transformers 5 writes Qwen3-MoE's experts under another name, and the kinds of layers of Qwen2-MoE.
TEST(ModelConfig, MixturesAsTransformers5WritesThem) {
  Json json{{"model_type", "qwen3_moe"}, {"hidden_size", 64},           {"intermediate_size", 96},
            {"num_hidden_layers", 2},    {"num_attention_heads", 16},   {"vocab_size", 100},
            {"num_local_experts", 6},    {"use_sliding_window", false}, {"num_experts_per_tok", 2}};
  EXPECT_EQ(parse(json).mixture.experts, 6);
  EXPECT_TRUE(parse(json).unsupported.empty() && parse(json).unknown_fields.empty());
  json["num_experts"] = 6;
  EXPECT_TRUE(parse(json).unsupported.empty());
  json["num_experts"] = 5;
  EXPECT_THAT(parse(json).unsupported,
              ElementsAre(Unsupported{"'num_experts' is 5 and 'num_local_experts' is 6", "the same in both"}));
  json.erase("num_local_experts");

  for (const char* type : {"qwen2_moe", "qwen3_moe"}) {
    json["model_type"] = type;
    json["use_sliding_window"] = false;
    json["layer_types"] = {"full_attention", "full_attention"};
    EXPECT_TRUE(parse(json).unsupported.empty());
    json["layer_types"] = {"full_attention", "sliding_attention"};
    EXPECT_THAT(parse(json).unsupported,
                ElementsAre(Unsupported{"'layer_types' is [\"full_attention\",\"sliding_attention\"]",
                                        "full_attention in all"}));
    json["use_sliding_window"] = true;
    json["sliding_window"] = 7;
    EXPECT_FALSE(parse(json).unsupported.empty());
    json["layer_types"] = {"sliding_attention", "sliding_attention"};
    EXPECT_TRUE(parse(json).unsupported.empty());
    EXPECT_EQ(parse(json).window_of(0), 7);
  }
}

// As Qwen/Qwen3-Next-80B-A3B-Instruct has it, with fewer layers.
TEST(ModelConfig, Qwen3NextSaysWhichLayersAreLinear) {
  Json json{{"model_type", "qwen3_next"},   {"hidden_size", 2048},
            {"intermediate_size", 5120},    {"num_hidden_layers", 8},
            {"num_attention_heads", 16},    {"num_key_value_heads", 2},
            {"vocab_size", 151936},         {"linear_num_key_heads", 16},
            {"linear_num_value_heads", 32}, {"shared_expert_intermediate_size", 512},
            {"attn_output_gate", true}};
  const ModelConfig config = parse(json);
  EXPECT_TRUE(config.unsupported.empty() && config.unknown_fields.empty());
  EXPECT_EQ(config.head_dim, 256);
  EXPECT_EQ(config.rotary_dim(), 64);
  EXPECT_EQ(config.mixture, (Mixture{.experts = 512,
                                     .per_token = 10,
                                     .intermediate_size = 512,
                                     .shared_intermediate_size = 512,
                                     .normalised = true}));
  EXPECT_THAT(config.linear.layers, ElementsAre(true, true, true, false, true, true, true, false));
  // By the published tensors' shapes.
  EXPECT_EQ(config.extent(Extent::linear_qkvz), 12288);
  EXPECT_EQ(config.extent(Extent::linear_channels), 8192);
  EXPECT_EQ(config.extent(Extent::linear_values), 4096);
  EXPECT_EQ(config.extent(Extent::linear_rates), 64);
  EXPECT_EQ(config.extent(Extent::gated_queries), 8192);
  // Two layers with keys and values in fp16, six with a state of 32 heads and the last three tokens in fp32.
  EXPECT_EQ(kv_cache_bytes(config, 1), 2 * 2 * 2 * 2 * 256);
  EXPECT_EQ(linear_state_bytes(config), 6 * 4 * (32 * 128 * 128 + 3 * 8192));
  EXPECT_TRUE(find_layer_tensor(config, 0, "linear_attn.in_proj_qkvz"));
  EXPECT_FALSE(find_layer_tensor(config, 0, "self_attn.q_proj"));
  EXPECT_TRUE(find_layer_tensor(config, 3, "self_attn.q_proj"));
  EXPECT_FALSE(find_layer_tensor(config, 3, "linear_attn.A_log"));
  EXPECT_EQ(parse_hf_config(hf_config_json(config, DType::bf16), "written"), config);

  json["full_attention_interval"] = 2;
  EXPECT_THAT(parse(json).linear.layers, ElementsAre(true, false, true, false, true, false, true, false));
  json["layer_types"] = {"full_attention"};
  expect_error(kInvalid, "'layer_types' is [\"full_attention\"]; expected a list with one for each",
               [&] { parse(json); });
}

// As Qwen/Qwen3.5-35B-A3B has its text, with fewer layers.
TEST(ModelConfig, Qwen35WithExpertsHasNoDenseNetworks) {
  const Json json{
      {"model_type", "qwen3_5_moe_text"},
      {"hidden_size", 2048},
      {"num_hidden_layers", 4},
      {"num_attention_heads", 16},
      {"vocab_size", 248320},
      {"num_experts", 256},
      {"num_experts_per_tok", 8},
      {"moe_intermediate_size", 512},
      {"shared_expert_intermediate_size", 512},
      {"mtp_num_hidden_layers", 1},
      {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e7}, {"partial_rotary_factor", 0.25}}}};
  const ModelConfig config = parse(json);
  EXPECT_TRUE(config.unsupported.empty() && config.unknown_fields.empty());
  EXPECT_EQ(config.mixture, (Mixture{.experts = 256,
                                     .per_token = 8,
                                     .intermediate_size = 512,
                                     .shared_intermediate_size = 512,
                                     .normalised = true}));
  EXPECT_EQ(config.num_key_value_heads, 2);
  EXPECT_EQ(config.rotary_dim(), 64);
  EXPECT_EQ(config.mtp_layers, 1);
  EXPECT_THAT(config.linear.layers, ElementsAre(true, true, true, false));
  EXPECT_TRUE(find_layer_tensor(config, 0, "linear_attn.in_proj_qkv"));
  EXPECT_TRUE(find_layer_tensor(config, 3, "mlp.experts.255.down_proj"));
  EXPECT_FALSE(find_layer_tensor(config, 3, "mlp.gate_proj"));
  EXPECT_EQ(parse_hf_config(hf_config_json(config, DType::bf16), "written"), config);
}

// As openai/gpt-oss-20b has it, but for what GptOssConfig takes for granted.
TEST(ModelConfig, GptOssHasItsOwnDefaults) {
  Json json{{"model_type", "gpt_oss"},     {"hidden_size", 2880},          {"intermediate_size", 2880},
            {"num_hidden_layers", 4},      {"num_local_experts", 32},      {"num_experts_per_tok", 4},
            {"experts_per_token", 4},      {"swiglu_limit", 7.0},          {"initial_context_length", 4096},
            {"router_aux_loss_coef", 0.9}, {"output_router_logits", false}};
  const ModelConfig config = parse(json);
  EXPECT_TRUE(config.unsupported.empty() && config.unknown_fields.empty());
  EXPECT_EQ(config.mixture, (Mixture{.experts = 32, .per_token = 4, .intermediate_size = 2880, .biases = true}));
  EXPECT_EQ(config.activation, Activation::clamped);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.num_attention_heads, 64);
  EXPECT_EQ(config.num_key_value_heads, 8);
  EXPECT_EQ(config.vocab_size, 201088);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_EQ(config.rope.theta, 150000);
  ASSERT_TRUE(config.rope.scaling);
  EXPECT_EQ(config.rope.scaling->type, "yarn");
  EXPECT_EQ(config.rope.scaling->factor, 32);
  EXPECT_EQ(config.rope.scaling->original_max_position_embeddings, 4096);
  EXPECT_FALSE(config.rope.scaling->truncate);
  EXPECT_TRUE(config.attention_bias && config.output_bias);
  EXPECT_EQ(config.sliding_window, 128);
  EXPECT_THAT(config.window_layers, ElementsAre(true, false, true, false));
  EXPECT_EQ(parse_hf_config(hf_config_json(config, DType::bf16), "again"), config);
  json["head_dim"] = nullptr;
  json["rope_scaling"] = nullptr;
  json["hidden_act"] = "relu";  // which is not read
  json["swiglu_limit"] = 6.0;
  const ModelConfig other = parse(json);
  EXPECT_EQ(other.head_dim, 2880 / 64);
  EXPECT_FALSE(other.rope.scaling);
  EXPECT_THAT(other.unsupported, ElementsAre(Unsupported{"'swiglu_limit' is 6.0", "7.0 or 7"}));
}

TEST(ModelConfig, ReadsEveryFieldOfHuggingFace) {
  const ModelConfig config = parse(llama());
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.hidden_size, 2048);
  EXPECT_EQ(config.intermediate_size, 8192);
  EXPECT_EQ(config.num_hidden_layers, 16);
  EXPECT_EQ(config.num_attention_heads, 32);
  EXPECT_EQ(config.num_key_value_heads, 8);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.vocab_size, 128256);
  EXPECT_EQ(config.max_position_embeddings, 131072);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_EQ(config.rope.theta, 5e5);
  ASSERT_TRUE(config.rope.scaling);
  EXPECT_EQ(config.rope.scaling->type, "llama3");
  EXPECT_EQ(config.rope.scaling->factor, 32);
  EXPECT_EQ(config.rope.scaling->high_freq_factor, 4);
  EXPECT_EQ(config.rope.scaling->original_max_position_embeddings, 8192);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_EQ(config.bos_token_id, 128000);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(128001, 128008, 128009));
  EXPECT_EQ(config.sliding_window, std::nullopt);
  EXPECT_EQ(config.quantization, "");
}

TEST(ModelConfig, DefaultsAreThoseOfTransformers) {
  const ModelConfig config = parse(Json::parse(R"({"model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
    "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": null, "vocab_size": 151936, "head_dim": null, "bos_token_id": -1,
    "use_sliding_window": false, "sliding_window": 32768})"));
  EXPECT_EQ(config.num_key_value_heads, 14);
  EXPECT_EQ(config.max_position_embeddings, 32768);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.norm_eps, 1e-6);
  EXPECT_EQ(config.rope.theta, 1e4);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_TRUE(config.attention_bias);
  EXPECT_EQ(config.bos_token_id, std::nullopt);
  EXPECT_TRUE(config.eos_token_ids.empty());
  EXPECT_EQ(config.sliding_window, std::nullopt);
}

TEST(ModelConfig, ReadsNewerAndNestedForms) {
  Json json = llama();
  json.erase("rope_scaling");
  json.erase("rope_theta");
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1234.0}};
  EXPECT_EQ(parse(json).rope.theta, 1234);
  EXPECT_FALSE(parse(json).rope.scaling);
  const Json nested{{"model_type", "gemma3"}, {"text_config", json}};
  EXPECT_EQ(parse(nested).hidden_size, 2048);
  json["quantization_config"] = {{"quant_method", "gptq"}};
  EXPECT_EQ(parse(json).quantization, "gptq");
}

// Which layers of which architectures look through a window: what transformers 4.57's configuration classes make of it.
TEST(ModelConfig, SlidingWindows) {
  const auto window = [](const char* architecture, const Json& fields) {
    Json json = llama();
    json["model_type"] = architecture;
    json.update(fields);
    const ModelConfig config = parse(json);
    int64_t first = 0;
    while (first < config.num_hidden_layers && config.window_of(first) == 0) ++first;
    for (int64_t i = first; i < config.num_hidden_layers; ++i) EXPECT_EQ(config.window_of(i), config.sliding_window);
    return std::pair(config.sliding_window.value_or(0), config.sliding_window ? first : 0);
  };
  using Pair = std::pair<int64_t, int64_t>;
  EXPECT_EQ(window("llama", {{"sliding_window", 512}}), Pair(0, 0));
  EXPECT_EQ(window("mistral", {{"sliding_window", 512}}), Pair(512, 0));
  EXPECT_EQ(window("mistral", {{"sliding_window", nullptr}}), Pair(0, 0));
  EXPECT_EQ(window("mistral", Json::object()), Pair(4096, 0));
  for (const char* qwen : {"qwen2", "qwen3"}) {
    EXPECT_EQ(window(qwen, {{"sliding_window", 512}}), Pair(0, 0));
    EXPECT_EQ(window(qwen, {{"sliding_window", 512}, {"use_sliding_window", false}}), Pair(0, 0));
    EXPECT_EQ(window(qwen, {{"sliding_window", 512}, {"use_sliding_window", true}}), Pair(512, 16));
    EXPECT_EQ(window(qwen, {{"sliding_window", 512}, {"use_sliding_window", true}, {"max_window_layers", 3}}),
              Pair(512, 3));
  }
}

TEST(ModelConfig, ListsFieldsThatNobodyKnows) {
  Json json = llama();
  json["attn_logit_softcapping"] = 50.0;
  json["num_experts"] = 8;
  json["attention_dropout"] = 0.1;
  json["rope_scaling"]["beta"] = 2;
  EXPECT_THAT(parse(json).unknown_fields, ElementsAre("attn_logit_softcapping", "num_experts", "rope_scaling.beta"));
  EXPECT_TRUE(parse(json).unsupported.empty());
  EXPECT_TRUE(parse(llama()).unknown_fields.empty());
}

TEST(ModelConfig, BiasesAreTheArchitectures) {
  const auto biases = [](const char* architecture, const Json& fields) {
    Json json = llama();
    json["model_type"] = architecture;
    json.erase("attention_bias");
    json.update(fields);
    const ModelConfig config = parse(json);
    return std::tuple(config.attention_bias, config.output_bias, config.mlp_bias);
  };
  const Json yes{{"attention_bias", true}, {"mlp_bias", true}}, no{{"attention_bias", false}}, unsaid = Json::object();
  EXPECT_EQ(biases("llama", yes), std::tuple(true, true, true));
  EXPECT_EQ(biases("llama", unsaid), std::tuple(false, false, false));
  EXPECT_EQ(biases("mistral", yes), std::tuple(false, false, false));
  EXPECT_EQ(biases("qwen2", no), std::tuple(true, false, false));
  EXPECT_EQ(biases("qwen3", yes), std::tuple(true, true, false));
}

TEST(ModelConfig, ReadsPythonsLiteralsAndTheLastOfTwoKeys) {
  const std::string start = R"({"model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 32, "limits": [0.0, Infinity, -Infinity, NaN],)";
  const auto read = [&](const std::string& rest) { return parse_hf_config(start + rest + "}", "config.json"); };
  EXPECT_EQ(read(R"("rope_theta": 5.0, "rope_theta": 7.0, "note": "a \"NaN\" in text")").rope.theta, 7);
  expect_error(kInvalid, "'rope_theta' is Infinity; expected a number above 0",
               [&] { read(R"("rope_theta": Infinity)"); });
  expect_error(kInvalid, "'rms_norm_eps' is NaN", [&] { read(R"("rms_norm_eps": NaN)"); });
}

TEST(ModelConfig, EmptyQuantizationIsNone) {
  for (const Json& none : {Json::object(), Json(nullptr)}) {
    Json json = llama();
    json["quantization_config"] = none;
    EXPECT_EQ(parse(json).quantization, "");
  }
  Json inner = llama();
  inner["quantization_config"] = {{"quant_method", "awq"}};
  EXPECT_EQ(parse({{"model_type", "llava"}, {"text_config", inner}}).quantization, "awq");
}

TEST(ModelConfig, NamesFieldAndValueOfWhatIsWrong) {
  const auto wrong = [](const char* field, const Json& value, const std::string& message) {
    Json json = llama();
    json[field] = value;
    expect_error(kInvalid, message, [&] { parse(json); });
  };
  for (const char* field : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                            "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"}) {
    const std::string is = std::string("read config.json: '") + field + "' is ";
    wrong(field, 0, is + "0; expected an integer from 1 to");
    wrong(field, -5, is + "-5");
    wrong(field, int64_t{1} << 41, is + "2199023255552");
    wrong(field, ~uint64_t{0}, is + "18446744073709551615");
    wrong(field, "12", is + "\"12\"");
    wrong(field, 1.5, is + "1.5");
    wrong(field, Json::array({1}), is + "[1]");
  }
  for (const char* field :
       {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "model_type"}) {
    Json json = llama();
    json.erase(field);
    expect_error(kInvalid, std::string("'") + field + "' is missing", [&] { parse(json); });
  }
  wrong("rope_theta", -1.0, "'rope_theta' is -1.0; expected a number above 0");
  wrong("rms_norm_eps", "x", "'rms_norm_eps' is \"x\"");
  wrong("tie_word_embeddings", 1, "'tie_word_embeddings' is 1; expected true or false");
  wrong("eos_token_id", "</s>", "'eos_token_id' is \"</s>\"");
  wrong("rope_scaling", 8, "'rope_scaling' is 8; expected an object");
  wrong("model_type", 8, "'model_type' is 8; expected a string");
  wrong("num_key_value_heads", 5, "num_attention_heads 32 is no multiple of num_key_value_heads 5");
  Json json = llama();
  json.erase("head_dim");
  json["num_attention_heads"] = 24;
  expect_error(kInvalid, "hidden_size 2048 is no multiple of num_attention_heads 24", [&] { parse(json); });
  expect_error(kInvalid, "read config.json: not valid JSON (UTF-8) at byte 9 (line 2, column 1)",
               [] { parse_hf_config("{\"a\": 1,\n}", "config.json"); });
  expect_error(kInvalid, "the JSON is [1]; expected an object", [] { parse_hf_config("[1]", "config.json"); });
  expect_error(kInvalid, "not valid JSON (UTF-8) at byte 0", [] { parse_hf_config("", "config.json"); });
}

ModelConfig from_gguf(const GgufBuilder& builder) {
  const std::string bytes = builder.build();
  return gguf_config(parse_gguf(std::as_bytes(std::span(bytes)), "tiny.gguf"));
}

TEST(ModelConfig, ReadsGgufMetadata) {
  TinyGguf tiny;
  tiny.extra_keys = false;
  GgufBuilder builder = tiny.builder();
  builder.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  builder.u32("tokenizer.ggml.eot_token_id", 3).u32("tokenizer.ggml.padding_token_id", 0xffffffff);
  const ModelConfig config = from_gguf(builder);
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.hidden_size, 32);
  EXPECT_EQ(config.intermediate_size, 64);
  EXPECT_EQ(config.num_hidden_layers, 2);
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_EQ(config.num_key_value_heads, 2);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.vocab_size, 4);
  EXPECT_EQ(config.max_position_embeddings, 128);
  EXPECT_EQ(config.norm_eps, 1e-5);  // not the nearest float's 9.99999975e-06
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.pad_token_id, std::nullopt);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2, 3));

  TinyGguf qwen;
  qwen.architecture = "qwen2";
  qwen.separate_output = qwen.qkv_bias = true;
  const ModelConfig other = from_gguf(qwen.builder());
  EXPECT_FALSE(other.tie_word_embeddings);
  EXPECT_TRUE(other.attention_bias);
  // A window makes it Mistral for transformers.
  EXPECT_EQ(from_gguf(tiny.builder().u32("llama.attention.sliding_window", 64)).architecture, "mistral");
}

TEST(ModelConfig, RefusesGgufMetadataThatCannotBe) {
  const auto refused = [](ErrorCode code, const char* message, const GgufBuilder& builder) {
    expect_error(code, message, [&] { from_gguf(builder); });
  };
  const auto unsupported = ErrorCode::unsupported;
  refused(kInvalid, "metadata 'general.architecture' is missing", GgufBuilder());
  refused(unsupported, "architecture 'gpt2'; expected llama, mistral, qwen2, qwen3",
          GgufBuilder().string("general.architecture", "gpt2"));
  for (const char* key :
       {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"}) {
    TinyGguf tiny;
    tiny.without = {key};
    refused(kInvalid, (std::string("metadata 'llama.") + key + "' is missing").c_str(), tiny.builder());
    refused(kInvalid, (std::string("'llama.") + key + "' is 0; expected an integer from 1").c_str(),
            tiny.builder().u32(std::string("llama.") + key, 0));
  }
  TinyGguf tiny;
  tiny.without = {"eps", "attention.head_count_kv"};
  refused(kInvalid, "layer_norm_rms_epsilon' is missing", tiny.builder());
  refused(kInvalid, "layer_norm_rms_epsilon' is nan",
          tiny.builder().f32("llama.attention.layer_norm_rms_epsilon", NAN));
  refused(unsupported, "'llama.attention.head_count_kv' differs between layers",
          tiny.builder().numbers<uint32_t>("llama.attention.head_count_kv", 4, {2, 4}));
  tiny.without = {"attention.head_count_kv"};
  EXPECT_EQ(from_gguf(tiny.builder()).num_key_value_heads, 4);
  EXPECT_EQ(from_gguf(tiny.builder().numbers<uint32_t>("llama.attention.head_count_kv", 4, {2, 2})).num_key_value_heads,
            2);
  refused(kInvalid, "'llama.expert_used_count' is missing", TinyGguf().builder().u32("llama.expert_count", 8));
  refused(unsupported, "rotary embedding of 4 of a head's 8",
          TinyGguf().builder().u32("llama.rope.dimension_count", 4));
  refused(unsupported, "rope scaling of type 'longrope'",
          TinyGguf().builder().string("llama.rope.scaling.type", "longrope"));
}

TEST(ModelConfig, AsksTheTableOfGgufKeys) {
  const auto with = [](const auto& change) {
    GgufBuilder builder = TinyGguf().builder();
    change(builder);
    return from_gguf(builder);
  };
  const ModelConfig unknown = with([](GgufBuilder& b) { b.f32("llama.wobble", 3); });
  EXPECT_THAT(unknown.unknown_fields, ::testing::Contains("llama.wobble"));
  EXPECT_TRUE(unknown.unsupported.empty());
  const ModelConfig scaled = with([](GgufBuilder& b) { b.f32("llama.attention.scale", 0.5f); });
  ASSERT_EQ(scaled.unsupported.size(), 1);
  EXPECT_EQ(scaled.unsupported[0].given, "'llama.attention.scale' is 0.5");
  EXPECT_TRUE(with([](GgufBuilder& b) { b.f32("llama.logit_scale", 1); }).unsupported.empty());
}

TEST(ModelConfig, ReadsRopeScalingOfGguf) {
  GgufBuilder builder = TinyGguf().builder();
  builder.string("llama.rope.scaling.type", "yarn").f32("llama.rope.scaling.factor", 4.f);
  builder.u32("llama.rope.scaling.original_context_length", 32);
  const auto rope = from_gguf(builder).rope.scaling;
  ASSERT_TRUE(rope);
  EXPECT_EQ(rope->type, "yarn");
  EXPECT_EQ(rope->factor, 4);
  EXPECT_EQ(rope->original_max_position_embeddings, 32);
}

// The table that llama.cpp's converter makes of Llama 3.1's parameters (values by transformers'
// _compute_llama3_parameters at head_dim 16, theta 500000, factor 8: inv_freq without over inv_freq with scaling).
TEST(ModelConfig, RecognisesLlama3RopeInItsTable) {
  TinyGguf tiny;
  tiny.extra_keys = false;
  tiny.without = {"attention.head_count", "attention.head_count_kv"};
  const std::vector<float> table{1, 1, 1, 1, 2.694530249f, 8, 8, 8};
  const auto with = [&](const std::vector<float>& values) {
    GgufBuilder b;
    b.string("general.architecture", "llama").u32("llama.block_count", 1).u32("llama.context_length", 131072);
    b.u32("llama.embedding_length", 32).u32("llama.feed_forward_length", 64).u32("llama.attention.head_count", 2);
    b.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f).f32("llama.rope.freq_base", 500000.f);
    b.u32("llama.vocab_size", 8).f32_tensor("rope_freqs.weight", {values.size()}, values);
    return b;
  };
  const auto rope = from_gguf(with(table)).rope.scaling;
  ASSERT_TRUE(rope);
  EXPECT_EQ(rope->type, "llama3");
  EXPECT_EQ(rope->factor, 8);
  EXPECT_EQ(rope->original_max_position_embeddings, 8192);
  auto other = table;
  other[4] = 3;
  expect_error(ErrorCode::unsupported, "'rope_freqs.weight' is not the table", [&] { from_gguf(with(other)); });
  other[4] = NAN;
  expect_error(ErrorCode::unsupported, "'rope_freqs.weight' is not the table", [&] { from_gguf(with(other)); });
  expect_error(ErrorCode::unsupported, "is not the table", [&] { from_gguf(with({1, 8})); });
}

TEST(ModelConfig, WritesWhatItReads) {
  for (const char* architecture : {"llama", "qwen2", "qwen3", "mistral"}) {
    SCOPED_TRACE(architecture);
    ModelConfig config = parse(llama());
    config.architecture = architecture;
    config.attention_bias = config.architecture == "qwen2";
    if (config.architecture != "llama") config.sliding_window = 1024;
    if (config.architecture.starts_with("qwen")) config.window_layers.assign(16, false), config.window_layers[4] = true;
    config.pad_token_id = 3;
    const std::string text = hf_config_json(config, DType::bf16);
    const ModelConfig again = parse_hf_config(text, "config.json");
    EXPECT_EQ(again.architecture, config.architecture);
    EXPECT_EQ(again.hidden_size, config.hidden_size);
    EXPECT_EQ(again.intermediate_size, config.intermediate_size);
    EXPECT_EQ(again.num_hidden_layers, config.num_hidden_layers);
    EXPECT_EQ(again.num_attention_heads, config.num_attention_heads);
    EXPECT_EQ(again.num_key_value_heads, config.num_key_value_heads);
    EXPECT_EQ(again.head_dim, config.head_dim);
    EXPECT_EQ(again.vocab_size, config.vocab_size);
    EXPECT_EQ(again.max_position_embeddings, config.max_position_embeddings);
    EXPECT_EQ(again.norm_eps, config.norm_eps);
    EXPECT_EQ(again.rope, config.rope);
    EXPECT_EQ(again.tie_word_embeddings, config.tie_word_embeddings);
    EXPECT_EQ(again.attention_bias, config.attention_bias);
    EXPECT_EQ(again.bos_token_id, config.bos_token_id);
    EXPECT_EQ(again.pad_token_id, config.pad_token_id);
    EXPECT_EQ(again.eos_token_ids, config.eos_token_ids);
    EXPECT_EQ(again.sliding_window, config.sliding_window);
    EXPECT_EQ(again.window_layers, config.window_layers);
    EXPECT_EQ(Json::parse(text)["torch_dtype"], "bfloat16");
  }
  ModelConfig config = parse(llama());
  EXPECT_EQ(Json::parse(hf_config_json(config, DType::f16))["architectures"], Json::array({"LlamaForCausalLM"}));
  config.architecture = "gpt2";
  expect_error(ErrorCode::unsupported, "architecture 'gpt2'", [&] { hf_config_json(config, DType::f16); });
}

TEST(ModelConfig, KvCacheBytes) {
  // Llama-3-8B: 32 layers, 8 KV heads of 128: 128 KiB a token, 1 GiB at 8,192 tokens.
  ModelConfig config;
  config.num_hidden_layers = 32;
  config.num_key_value_heads = 8;
  config.head_dim = 128;
  EXPECT_EQ(kv_cache_bytes(config, 1), 131072);
  EXPECT_EQ(kv_cache_bytes(config, 8192), int64_t{1} << 30);
  for (int64_t context : {int64_t{0}, int64_t{-1}, (int64_t{1} << 40) + 1}) {
    expect_error(ErrorCode::usage, "a context of", [&] { kv_cache_bytes(config, context); });
  }
  config.head_dim = config.num_key_value_heads = int64_t{1} << 31;
  expect_error(ErrorCode::usage, "too many bytes", [&] { kv_cache_bytes(config, int64_t{1} << 40); });
}

}  // namespace
}  // namespace mxq
