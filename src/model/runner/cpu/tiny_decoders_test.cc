// The forward pass of two-layer models of every architecture against logits that transformers produced in fp32
// (tests/data/make_tiny_decoders.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "expect_error.h"
#include "model/runner/cpu/tiny_decoders.h"

namespace mxq {
namespace {

TEST_P(TinyDecoders, LogitsEqualTransformers) {
  const TinyModel tiny(GetParam());
  const Values expected = expected_logits(GetParam());
  EXPECT_LE(largest_difference(run(tiny), expected), tolerance(expected));
  EXPECT_LE(largest_difference(run(tiny, {Compute::f32, true}), expected), tolerance(expected)) << "packed";
  if (bf16_matmul_supported()) {
    // Operands have eight bits, in products one behind the other.
    const double largest = largest_difference(expected, Values(expected.size()));
    EXPECT_LE(largest_difference(run(tiny, {Compute::bf16, false}), expected), 0.1 * largest) << "bf16";
  }
}

TEST_P(TinyDecoders, TokenByTokenGivesTheSame) {
  if (GetParam() == "llama_dynamic" || GetParam().ends_with("_longrope")) return;  // below
  TinyModel(GetParam()).write(folder_.path());
  const auto model = open_model(folder_.path());
  const auto ids = reference_ids();
  const Values expected = expected_logits(GetParam());
  // Pieces of one token, and pieces that a sliding window does not divide.
  for (const size_t piece : {1, 9}) {
    CpuRunner runner(*model, {});
    const auto cache = runner.make_cache();
    Values hidden;
    for (size_t at = 0; at < ids.size(); at += piece) {
      const Sequence next{std::span(ids).subspan(at, std::min(piece, ids.size() - at)), cache.get()};
      const Values part = runner.hidden(std::span(&next, 1));
      hidden.insert(hidden.end(), part.begin(), part.end());
    }
    EXPECT_EQ(cache->length(), static_cast<int64_t>(ids.size()));
    EXPECT_LE(largest_difference(logits_at_positions(runner, hidden), expected), tolerance(expected)) << piece;
  }
}

// Under longrope a text that grows beyond the original length is rotated anew, all of it.
TEST_F(TinyDecoders, LongropeChangesOnTheWay) {
  TinyModel("llama_longrope").write(folder_.path());
  const auto model = open_model(folder_.path());
  const auto ids = reference_ids();
  const Values expected = expected_logits("llama_longrope");
  for (const size_t piece : {1, 9}) {
    CpuRunner runner(*model, {});
    const auto cache = runner.make_cache(), other = runner.make_cache();
    Values hidden;
    for (size_t at = 0; at < ids.size(); at += piece) {
      // Beside a text that stays short.
      const auto next = std::span(ids).subspan(at, std::min(piece, ids.size() - at));
      const std::array sequences{Sequence{next, cache.get()}, Sequence{next.first(1), at == 0 ? other.get() : nullptr}};
      const Values part = runner.hidden(sequences);
      ASSERT_EQ(std::ssize(part), (std::ssize(next) + 1) * runner.hidden_size());
      hidden.insert(hidden.end(), part.begin(), part.end() - runner.hidden_size());
    }
    const Values logits = logits_at_positions(runner, hidden);
    const auto vocab = runner.vocab_size();
    // Those at 26 and 39; transformers saw the others with the tokens behind them.
    EXPECT_LE(largest_difference(Values(logits.begin() + 2 * vocab, logits.end()),
                                 Values(expected.begin() + 2 * vocab, expected.end())),
              tolerance(expected))
        << piece;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TinyDecoders, testing::ValuesIn(model_names()),
                         [](const auto& param) { return param.param; });
// That the references can tell: each thing an architecture does beyond its neighbours changes the logits.
TEST_F(TinyDecoders, EveryFeatureCounts) {
  const auto expect_change = [&](const std::string& name, const std::string& what, const auto& change) {
    TinyModel tiny(name);
    change(tiny);
    EXPECT_GT(largest_difference(run(tiny), expected_logits(name)), 0.02) << name << ": " << what;
  };
  const auto config = [&](const std::string& name, const char* pointer, const Json& value) {
    expect_change(name, pointer, [&](TinyModel& tiny) { tiny.config[Json::json_pointer(pointer)] = value; });
  };
  config("llama2", "/rope_theta", 1e6);
  config("llama2", "/rms_norm_eps", 0.1);
  config("llama3", "/rope_scaling", nullptr);
  config("llama3", "/rope_scaling/rope_type", "linear");
  config("llama3", "/rope_scaling/factor", 16);
  config("llama3", "/rope_scaling/low_freq_factor", 2);
  config("llama3", "/rope_scaling/high_freq_factor", 3);
  config("llama3", "/rope_scaling/original_max_position_embeddings", 32);
  config("llama_linear", "/rope_scaling", nullptr);
  config("llama_linear", "/rope_scaling/factor", 8);
  for (const char* name : {"llama_yarn", "llama_yarn_scaled", "llama_dynamic"}) {
    config(name, "/rope_scaling", nullptr);
    config(name, "/rope_scaling/factor", 16);
  }
  config("llama_yarn", "/rope_scaling/original_max_position_embeddings", 128);
  config("llama_yarn_scaled", "/rope_scaling/beta_fast", 32);
  config("llama_yarn_scaled", "/rope_scaling/beta_slow", 2);
  config("llama_yarn_scaled", "/rope_scaling/mscale", 1);
  config("llama_yarn_scaled", "/rope_scaling/mscale_all_dim", nullptr);
  config("llama_yarn_scaled", "/rope_scaling/truncate", true);
  config("llama_dynamic", "/max_position_embeddings", 128);
  config("llama_longrope", "/original_max_position_embeddings", 64);
  config("llama_longrope", "/rope_scaling/attention_factor", 1);
  config("llama_longrope", "/rope_scaling/long_factor/3", 1);
  config("llama_longrope_short", "/rope_scaling/short_factor/3", 1);
  config("llama_longrope_short", "/rope_scaling/factor", 1);
  config("mistral", "/sliding_window", nullptr);
  config("mistral", "/sliding_window", 8);
  config("mistral", "/sliding_window", 6);
  for (const char* name : {"qwen2_window", "qwen2_pattern", "qwen3_pattern"}) {
    config(name, "/layer_types/0", name == std::string("qwen2_window") ? "sliding_attention" : "full_attention");
    config(name, "/layer_types/1", name == std::string("qwen2_window") ? "full_attention" : "sliding_attention");
    config(name, "/sliding_window", 6);
  }

  config("ministral", "/layer_types/0", "sliding_attention");
  config("ministral", "/layer_types/1", "full_attention");
  for (const char* name : {"gemma2", "gemma3"}) {
    config(name, "/query_pre_attn_scalar", 10);
    config(name, "/hidden_activation", "silu");
    config(name, "/sliding_window", 9);
    config(name, "/layer_types/0", "full_attention");
    config(name, "/layer_types/1", "sliding_attention");
  }
  config("gemma2", "/attn_logit_softcapping", nullptr);
  config("gemma2", "/attn_logit_softcapping", 4);
  config("gemma2", "/final_logit_softcapping", nullptr);
  config("gemma3", "/final_logit_softcapping", 2);
  config("gemma3", "/rope_local_base_freq", 10000);
  config("gemma3", "/rope_scaling", nullptr);
  config("gemma3", "/rope_theta", 500);
  config("phi3", "/partial_rotary_factor", 1);
  config("phi3", "/sliding_window", nullptr);
  config("phi3_longrope", "/original_max_position_embeddings", 64);
  config("smollm3", "/no_rope_layers/1", 1);
  config("smollm3", "/no_rope_layers/0", 0);
  config("smollm3", "/sliding_window", 9);
  config("smollm3", "/layer_types/0", "sliding_attention");
  for (const char* field : {"embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"}) {
    config("granite", (std::string("/") + field).c_str(), 1);
  }
  config("glm4", "/partial_rotary_factor", 1);
  config("cohere2", "/logit_scale", 0.25);
  config("cohere2", "/layer_norm_eps", 0.1);
  config("cohere2", "/layer_types/0", "full_attention");
  config("cohere2", "/sliding_window", 9);

  config("mixtral", "/num_experts_per_tok", 1);
  config("mixtral", "/sliding_window", nullptr);
  config("qwen2_moe", "/num_experts_per_tok", 3);
  config("qwen2_moe", "/norm_topk_prob", true);
  config("qwen2_moe", "/use_sliding_window", false);
  config("qwen3_moe", "/num_experts_per_tok", 2);
  config("qwen3_moe", "/norm_topk_prob", false);
  config("gpt_oss", "/num_experts_per_tok", 1);
  config("gpt_oss", "/layer_types/0", "full_attention");
  config("gpt_oss", "/layer_types/1", "sliding_attention");
  config("gpt_oss", "/rope_scaling/truncate", true);
  config("gpt_oss", "/rope_scaling", nullptr);

  config("qwen3_next", "/partial_rotary_factor", 1);
  config("qwen3_next", "/num_experts_per_tok", 1);
  config("qwen3_next", "/norm_topk_prob", false);
  config("qwen3_5", "/rope_parameters/partial_rotary_factor", 1);
  config("qwen3_5", "/rope_parameters/rope_theta", 100);
  config("qwen3_5_moe", "/num_experts_per_tok", 1);
  config("qwen3_5_moe", "/rope_parameters/partial_rotary_factor", 1);
  for (const char* name : {"qwen3_next", "qwen3_5", "qwen3_5_moe"}) config(name, "/rms_norm_eps", 1e-6);

  // All tensors whose names end so, set to one value.
  const auto fill = [&](const std::string& name, const std::string& ending, float value) {
    expect_change(name, ending, [&](TinyModel& tiny) {
      for (auto& [tensor, contents] : tiny.tensors) {
        if (tensor.ends_with(ending)) std::fill(contents.values.begin(), contents.values.end(), value);
      }
    });
  };
  for (const char* module : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                             "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
    fill("llama_bias", std::string(module) + ".bias", 0);
  }
  for (const char* module : {"q_proj", "k_proj", "v_proj"}) fill("qwen2", std::string(module) + ".bias", 0);
  fill("qwen3", "q_norm.weight", 1);
  fill("qwen3", "k_norm.weight", 1);
  for (const char* name : {"gemma2", "gemma3"}) {
    for (const char* norm : {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                             "post_feedforward_layernorm", "model.norm"}) {
      fill(name, std::string(norm) + ".weight", 0);
    }
  }
  fill("gemma3", "q_norm.weight", 0);
  fill("gemma3", "k_norm.weight", 0);
  fill("olmo2", "q_norm.weight", 1);
  fill("olmo2", "k_norm.weight", 1);
  fill("olmo2", "post_attention_layernorm.weight", 1);
  fill("olmo2", "post_feedforward_layernorm.weight", 1);
  for (const char* norm :
       {"input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm"}) {
    fill("glm4", std::string(norm) + ".weight", 1);
  }
  for (const char* module : {"q_proj", "k_proj", "v_proj"}) fill("glm4", std::string(module) + ".bias", 0);
  fill("mixtral", "block_sparse_moe.gate.weight", 0);
  fill("mixtral", "experts.3.w1.weight", 0);
  for (const char* module : {"mlp.gate", "mlp.shared_expert_gate", "mlp.shared_expert.up_proj", "experts.4.up_proj"}) {
    fill("qwen2_moe", std::string(module) + ".weight", 0);
  }
  fill("qwen2_moe", "q_proj.bias", 0);
  fill("qwen3_moe", "layers.2.mlp.experts.5.down_proj.weight", 0);
  fill("qwen3_moe", "layers.1.mlp.up_proj.weight", 0);
  for (const char* tensor : {"q_proj.bias", "k_proj.bias", "v_proj.bias", "o_proj.bias", "mlp.router.bias",
                             "gate_up_proj_bias", "down_proj_bias", "layers.1.mlp.experts.down_proj"}) {
    fill("gpt_oss", tensor, 0);
  }
  fill("gpt_oss", "self_attn.sinks", -100);
  for (const char* name : {"qwen3_next", "qwen3_5"}) {
    for (const char* tensor : {"conv1d.weight", "A_log", "linear_attn.dt_bias", "linear_attn.norm.weight"}) {
      fill(name, tensor, 1);
    }
    for (const char* norm : {"q_norm", "k_norm", "input_layernorm", "model.norm"}) {
      fill(name, std::string(norm) + ".weight", 0);
    }
  }
  fill("qwen3_next", "in_proj_qkvz.weight", 0);
  fill("qwen3_next", "in_proj_ba.weight", 0);
  fill("qwen3_next", "mlp.shared_expert_gate.weight", 0);
  for (const char* tensor : {"layers.1.mlp.experts.gate_up_proj", "layers.2.mlp.experts.down_proj", "A_log",
                             "mlp.shared_expert_gate.weight", "mlp.gate.weight"}) {
    fill("qwen3_5_moe", tensor, 0);
  }
  for (const char* module : {"qkv", "z", "b", "a"}) fill("qwen3_5", std::string("in_proj_") + module + ".weight", 0);
  fill("qwen3_next_all", "q_proj.bias", 0);
  for (const char* module : {"q_proj", "k_proj", "v_proj", "o_proj"}) fill("granite", std::string(module) + ".bias", 0);
}

// The tensors under other names, as embedding models and models with a vision tower have them.
TEST_F(TinyDecoders, FindsTheTextModelUnderAnyPrefix) {
  for (const std::string prefix : {"", "language_model.model.", "model.language_model.", "a.b.c."}) {
    TinyModel tiny("qwen3");
    std::map<std::string, Tensor> renamed{{"visual.blocks.0.attn.qkv.weight", {{2, 2}, Values(4)}}};
    for (auto& [name, tensor] : tiny.tensors) {
      const bool head = name.starts_with("lm_head.");
      renamed[head ? (prefix.starts_with("language") ? "language_model." : "") + name : prefix + name.substr(6)] =
          tensor;
    }
    tiny.tensors = renamed;
    EXPECT_LE(largest_difference(run(tiny), expected_logits("qwen3")), tolerance(expected_logits("qwen3"))) << prefix;
    const auto model = open_model(folder_.path());
    ASSERT_EQ(model->notes().size(), 1);
    EXPECT_THAT(model->notes()[0], testing::HasSubstr("under '" + prefix + "'; 1 tensors beside it"));
    EXPECT_EQ(model->find("model.layers.1.mlp.up_proj.weight")->stored_name, prefix + "layers.1.mlp.up_proj.weight");
  }
}

TEST_F(TinyDecoders, ATiedModelMayBeStoredUnderTheHeadsName) {
  TinyModel tiny("qwen2");
  auto embedding = tiny.tensors.extract("model.embed_tokens.weight");
  embedding.key() = "lm_head.weight";
  tiny.tensors.insert(std::move(embedding));
  EXPECT_LE(largest_difference(run(tiny), expected_logits("qwen2")), tolerance(expected_logits("qwen2")));
}

// The text of a model with a vision tower and with layers for more than one token, which stay as they are.
TEST_F(TinyDecoders, LayersForMoreTokensStayAsTheyAre) {
  TinyModel tiny("qwen3_5");
  std::map<std::string, Tensor> renamed{{"mtp.layers.0.mlp.up_proj.weight", {{48, 32}, Values(48 * 32)}},
                                        {"model.visual.blocks.0.attn.qkv.weight", {{2, 2}, Values(4)}}};
  for (auto& [name, tensor] : tiny.tensors) {
    renamed[name.starts_with("lm_head.") ? name : "model.language_model." + name.substr(6)] = tensor;
  }
  tiny.tensors = renamed;
  tiny.config = {{"model_type", "qwen3_5"}, {"text_config", tiny.config}, {"vision_config", {{"depth", 1}}}};
  EXPECT_LE(largest_difference(run(tiny), expected_logits("qwen3_5")), tolerance(expected_logits("qwen3_5")));
  const auto model = open_model(folder_.path());
  ASSERT_EQ(model->notes().size(), 1);
  EXPECT_THAT(model->notes()[0], testing::HasSubstr("under 'model.language_model.'; 2 tensors beside it"));
  EXPECT_FALSE(model->find("mtp.layers.0.mlp.up_proj.weight")->matrix);
  EXPECT_TRUE(model->find("model.layers.0.linear_attn.in_proj_qkv.weight")->matrix);
}

// Biases that the configuration denies, and layers behind the last, are not used; the notes say so.
TEST_F(TinyDecoders, WhatTheConfigurationDeniesIsNotUsed) {
  TinyModel with("llama_bias");
  with.config["attention_bias"] = with.config["mlp_bias"] = false;
  with.config["num_hidden_layers"] = 1;
  TinyModel without = with;
  std::erase_if(without.tensors, [](const auto& tensor) {
    return tensor.first.ends_with(".bias") || tensor.first.starts_with("model.layers.1.");
  });
  const Values expected = run(without);
  EXPECT_EQ(run(with), expected);
  const auto model = open_model(folder_.path());
  ASSERT_EQ(model->notes().size(), 2);
  EXPECT_THAT(model->notes()[0], testing::HasSubstr("layers up to 1, num_hidden_layers is 1"));
  EXPECT_THAT(model->notes()[1], testing::HasSubstr("the layers have 7 tensors, such as"));
  EXPECT_FALSE(model->find("model.layers.1.mlp.up_proj.weight")->matrix);
}

TEST_F(TinyDecoders, NamesTheFirstLayerThatIsNotFinite) {
  for (const auto& [tensor, layer] :
       {std::pair("model.layers.1.mlp.up_proj.weight", 1), std::pair("model.layers.1.mlp.down_proj.weight", 1),
        std::pair("model.layers.0.self_attn.o_proj.weight", 0)}) {
    TinyModel tiny("llama2");
    for (float& weight : tiny.tensors.at(tensor).values) weight = 3e38f;
    expect_error(ErrorCode::not_finite, "layer " + std::to_string(layer) + " gives NaN or infinity",
                 [&] { run(tiny); });
  }
}

// Of finite values too: their norm would be 0, as if they had been.
TEST_F(TinyDecoders, NamesHeadsWhoseSquaresOverflow) {
  TinyModel tiny("qwen3");
  for (float& weight : tiny.tensors.at("model.layers.1.self_attn.k_proj.weight").values) weight *= 1e25f;
  expect_error(ErrorCode::not_finite, "q_proj or k_proj of layer 1 gives NaN or infinity", [&] { run(tiny); });
}

TEST_F(TinyDecoders, RefusesTensorsThatHoldNoNumbers) {
  for (const char* name :
       {"model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.o_proj.weight",
        "model.layers.1.input_layernorm.weight", "model.layers.0.self_attn.q_norm.weight", "model.norm.weight"}) {
    for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
      TinyModel tiny("qwen3");
      tiny.tensors.at(name).values[5] = value;
      expect_error(ErrorCode::not_finite, std::string("'") + name + "' holds ", [&] { run(tiny); });
    }
  }
}

TEST_F(TinyDecoders, RefusesWhatItCannotRun) {
  const auto refused = [&](ErrorCode code, const std::string& message, const std::string& name, const auto& change) {
    TinyModel tiny(name);
    change(tiny);
    expect_error(code, message, [&] { run(tiny); });
  };
  const auto config = [&](ErrorCode code, const std::string& message, const char* field, const Json& value) {
    refused(code, message, "llama2", [&](TinyModel& tiny) { tiny.config[field] = value; });
  };
  config(ErrorCode::unsupported, "architecture 'gpt2'; expected llama, mistral, ministral, qwen2, qwen3, gemma2",
         "model_type", "gpt2");
  config(ErrorCode::unsupported,
         "'rope_scaling' of type \"ntk\"; expected default, dynamic, linear, llama3, longrope, yarn", "rope_scaling",
         Json{{"rope_type", "ntk"}, {"factor", 4.0}});
  Json llama3{{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}};
  config(ErrorCode::unsupported, "lacks 'original_max_position_embeddings'", "rope_scaling", llama3);
  llama3["original_max_position_embeddings"] = 64;
  llama3.erase("low_freq_factor");
  config(ErrorCode::unsupported, "'rope_scaling' of type \"llama3\" lacks 'low_freq_factor'", "rope_scaling", llama3);
  config(ErrorCode::unsupported, "of type \"linear\" lacks 'factor'", "rope_scaling", Json{{"type", "linear"}});
  config(ErrorCode::unsupported, "'hidden_act' is \"gelu\"; expected \"silu\" or \"swish\" or \"gelu_pytorch_tanh\"",
         "hidden_act", "gelu");
  config(ErrorCode::unsupported, "'partial_rotary_factor' is 0.5; expected 1", "partial_rotary_factor", 0.5);
  refused(ErrorCode::unsupported, "'layer_types' has \"chunked_attention\"", "qwen2_pattern",
          [](TinyModel& tiny) { tiny.config["layer_types"][0] = "chunked_attention"; });
  refused(ErrorCode::unsupported, "'layer_types' has sliding_attention, and 'use_sliding_window' is not true",
          "qwen2_pattern", [](TinyModel& tiny) { tiny.config["use_sliding_window"] = false; });
  const auto invalid = ErrorCode::invalid_file;
  config(invalid, "4 heads, 4 KV heads of 7; expected an even head size", "head_dim", 7);
  // Refused before tables of that size are made.
  config(invalid,
         "'model.layers.0.self_attn.q_proj.weight' has 32 rows; expected 8589934592, for the config says 4 heads of "
         "2147483648",
         "head_dim", int64_t{1} << 31);
  config(invalid, "'model.embed_tokens.weight' has shape [64, 32]; expected [2147483648, 32]", "vocab_size",
         int64_t{1} << 31);
  config(invalid, "'model.embed_tokens.weight' has shape [64, 32]; expected [64, 2147483648]", "hidden_size",
         int64_t{1} << 31);
  config(invalid, "tensor 'model.layers.2.input_layernorm.weight' is missing", "num_hidden_layers", 100'000);
  config(invalid, "'model.layers.0.mlp.gate_proj.weight' has shape [48, 32]; expected [49, 32]", "intermediate_size",
         49);
  config(invalid, "'model.layers.0.self_attn.k_proj.weight' has shape [32, 32]; expected [16, 32]",
         "num_key_value_heads", 2);
  config(invalid, "'model.layers.0.self_attn.q_proj.bias' is missing", "attention_bias", true);
  config(invalid, "'model.layers.0.mlp.gate_proj.bias' is missing", "mlp_bias", true);

  const auto missing = [&](const std::string& name, const std::string& tensor) {
    refused(invalid, "tensor '" + tensor + "' is missing", name, [&](TinyModel& tiny) { tiny.tensors.erase(tensor); });
  };
  for (const auto& [tensor, contents] : TinyModel("llama2").tensors) missing("llama2", tensor);
  for (const char* norm : {"q_norm", "k_norm"}) {
    missing("qwen3", std::string("model.layers.1.self_attn.") + norm + ".weight");
  }
  missing("qwen2", "model.layers.1.self_attn.v_proj.bias");
  for (const char* tensor : {"self_attn.sinks", "mlp.router.bias"}) {
    missing("gpt_oss", std::string("model.layers.1.") + tensor);
  }
  for (const auto& [tensor, part] : {std::pair("gate_up_proj", "0.gate_proj.weight"),
                                     {"gate_up_proj_bias", "0.gate_proj.bias"},
                                     {"down_proj", "0.down_proj.weight"},
                                     {"down_proj_bias", "0.down_proj.bias"}}) {
    const std::string erased = std::string("model.layers.1.mlp.experts.") + tensor;
    refused(invalid, std::string("tensor 'model.layers.1.mlp.experts.") + part + "' is missing", "gpt_oss",
            [&](TinyModel& tiny) { tiny.tensors.erase(erased); });
  }
  for (const char* tensor : {"conv1d.weight", "A_log", "dt_bias", "norm.weight"}) {
    missing("qwen3_next", std::string("model.layers.1.linear_attn.") + tensor);
  }
  refused(ErrorCode::unsupported,
          "'layer_types' has \"sliding_attention\"; expected full_attention or linear_attention", "qwen3_next",
          [](TinyModel& tiny) { tiny.config["layer_types"][0] = "sliding_attention"; });
  refused(ErrorCode::unsupported, "'attn_output_gate' is false; expected true or null", "qwen3_5",
          [](TinyModel& tiny) { tiny.config["attn_output_gate"] = false; });
  refused(invalid, "'linear_num_value_heads' is 5; expected a multiple of 'linear_num_key_heads' 2", "qwen3_next",
          [](TinyModel& tiny) { tiny.config["linear_num_value_heads"] = 5; });
  refused(invalid, "'model.layers.0.linear_attn.conv1d.weight' has shape [112, 1, 4]; expected [112, 1, 3]",
          "qwen3_next", [](TinyModel& tiny) { tiny.config["linear_conv_kernel_dim"] = 3; });
  refused(ErrorCode::unsupported, "'swiglu_limit' is 6.0; expected 7.0 or 7", "gpt_oss",
          [](TinyModel& tiny) { tiny.config["swiglu_limit"] = 6.0; });

  TinyModel("smollm").write(folder_.path());
  const auto model = open_model(folder_.path());
  CpuRunner runner(*model, {});
  for (const int32_t id : {-1, 64}) {
    expect_error(ErrorCode::usage, "token id " + std::to_string(id) + "; expected 0 to 63", [&] {
      runner.hidden(std::vector<int32_t>{1, id});
    });
  }
}

TEST_F(TinyDecoders, ReplacedWeightsAreRunWithAndTakenBack) {
  TinyModel("smollm").write(folder_.path());
  const auto model = open_model(folder_.path());
  CpuRunner runner(*model, {});
  const auto ids = reference_ids();
  const auto before = runner.hidden(ids);
  for (const std::string name : {"model.embed_tokens", "model.layers.1.mlp.up_proj"}) {
    const auto shape = runner.find_matrix(name);
    ASSERT_TRUE(shape) << name;
    EXPECT_EQ((std::vector{shape->out, shape->in}), model->find(name + ".weight")->shape);
    Values room;
    const auto weights = runner.weights(name, room);
    Values half(weights.begin(), weights.end());
    for (float& w : half) w /= 2;
    const auto replacement = runner.make_replacement(name, half);
    EXPECT_EQ(runner.hidden(ids), before) << name << ": made, not in place";
    replacement->swap();
    EXPECT_NE(runner.hidden(ids), before) << name;
    replacement->swap();
    EXPECT_EQ(runner.hidden(ids), before) << name;
    expect_error(ErrorCode::usage, "3 weights for '" + name + "'; expected " + std::to_string(half.size()),
                 [&] { runner.make_replacement(name, Values(3)); });
  }
  for (const std::string name : {"lm_head", "model.layers.2.mlp.up_proj", "model.layers.0.input_layernorm",
                                 "visual.layers.0.mlp.up_proj", "model.layers.0.mlp.w1"}) {
    EXPECT_FALSE(runner.find_matrix(name)) << name;
    expect_error(ErrorCode::usage, "matrix '" + name + "'", [&] { runner.make_replacement(name, {}); });
  }
}

TEST_F(TinyDecoders, DevicesAreKnownByName) {
  TinyModel("smollm").write(folder_.path());
  const auto model = open_model(folder_.path());
  EXPECT_EQ(make_runner(*model)->hidden(reference_ids()), CpuRunner(*model, {}).hidden(reference_ids()));
  expect_error(ErrorCode::unsupported, "device 'abacus'; expected cpu",
               [&] { make_runner(*model, {.device = "abacus"}); });
}

}  // namespace
}  // namespace mxq
