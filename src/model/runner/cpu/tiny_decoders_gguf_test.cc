// The forward pass of the tiny models as llama.cpp's converter writes them, and what files have otherwise.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "expect_error.h"
#include "model/runner/cpu/tiny_decoders.h"
#include "model/tiny_model_gguf.h"

namespace mxq {
namespace {

class TinyDecodersInGguf : public TinyDecoders {};

TEST_P(TinyDecodersInGguf, LogitsEqualTransformers) {
  const auto path = folder_ / "tiny.gguf";
  const TinyModel tiny(GetParam());
  TinyConversion(tiny).builder().write(path);
  const Values logits = run_file(path), expected = expected_logits(GetParam()), folder = run(tiny);
  EXPECT_LE(largest_difference(logits, expected), tolerance(expected));
  if (tiny.config.contains("linear_key_head_dim")) {
    // Of A_log the file holds what it means, -exp(A_log).
    EXPECT_LE(largest_difference(logits, folder), tolerance(expected)) << "of the folder";
  } else {
    EXPECT_EQ(logits, folder) << "of the folder";
  }
}

// Qwen3-Next's first files have queries, keys, values and gates in one tensor, as HF has.
TEST_F(TinyDecodersInGguf, OlderFilesHaveOneTensorForTwo) {
  const auto path = folder_ / "tiny.gguf";
  const TinyModel tiny("qwen3_next_usual");
  TinyConversion(tiny).builder().write(path);
  const Values newer = run_file(path);
  const auto with_whole = [&](const std::vector<std::string>& left_out) {
    TinyConversion conversion(tiny);
    for (const std::string layer : {"0", "1", "2", "4"}) {
      for (const auto& name : left_out) conversion.without.insert("blk." + layer + "." + name);
    }
    GgufBuilder builder = conversion.builder();
    for (const std::string layer : {"0", "1", "2", "4"}) {
      const Tensor& whole = tiny.tensors.at("model.layers." + layer + ".linear_attn.in_proj_qkvz.weight");
      builder.f32_tensor("blk." + layer + ".ssm_in.weight", {whole.shape.begin(), whole.shape.end()}, whole.values);
    }
    builder.write(path);
  };
  with_whole({"attn_qkv.weight", "attn_gate.weight"});
  EXPECT_EQ(run_file(path), newer);
  with_whole({});
  expect_error(ErrorCode::invalid_file, "two tensors hold 'model.layers.0.linear_attn.in_proj_qkvz.weight'",
               [&] { run_file(path); });
  TinyConversion without_gate(tiny);
  without_gate.without.insert("blk.2.attn_gate.weight");
  without_gate.builder().write(path);
  expect_error(ErrorCode::invalid_file, "'blk.2.attn_qkv.weight' is there without 'attn_gate'",
               [&] { run_file(path); });
}

// llama.cpp's converter can join gate and up of all experts.
TEST_F(TinyDecodersInGguf, GateAndUpOfExpertsMayBeOneTensor) {
  const auto path = folder_ / "tiny.gguf";
  const TinyModel tiny("qwen3_5_moe");
  TinyConversion(tiny).builder().write(path);
  const Values apart = run_file(path);
  TinyConversion conversion(tiny);
  for (const std::string layer : {"0", "1", "2", "3"}) {
    for (const char* name : {".ffn_gate_exps.weight", ".ffn_up_exps.weight"}) {
      conversion.without.insert("blk." + layer + name);
    }
  }
  const auto with_stacks = [&](int64_t rows) {
    GgufBuilder builder = conversion.builder();
    for (const std::string layer : {"0", "1", "2", "3"}) {
      Values values = tiny.tensors.at("model.layers." + layer + ".mlp.experts.gate_up_proj").values;
      values.resize(static_cast<size_t>(4 * rows * 32));
      builder.f32_tensor("blk." + layer + ".ffn_gate_up_exps.weight", {4, static_cast<uint64_t>(rows), 32}, values);
    }
    builder.write(path);
  };
  with_stacks(48);
  EXPECT_EQ(run_file(path), apart);
  with_stacks(47);
  expect_error(ErrorCode::invalid_file, "tensor 'blk.0.ffn_gate_up_exps.weight' has shape [4, 47, 32]",
               [&] { run_file(path); });
  with_stacks(46);
  expect_error(ErrorCode::invalid_file, "has shape [23, 32]; expected [24, 32] by the metadata",
               [&] { run_file(path); });
}

// A layer that foretells one token more stays as it is, under HF's names.
TEST_F(TinyDecodersInGguf, LayersForMoreTokensStayAsTheyAre) {
  const auto path = folder_ / "tiny.gguf";
  TinyModel tiny("qwen3_5");
  TinyConversion conversion(tiny);
  conversion.without = {"block_count"};
  GgufBuilder builder = conversion.builder();
  builder.u32("qwen35.block_count", 5);
  builder.u32("qwen35.nextn_predict_layers", 1);
  builder.f32_tensor("blk.4.nextn.eh_proj.weight", {32, 64}, Values(32 * 64, 0.5F));
  builder.f32_tensor("blk.4.nextn.enorm.weight", {32}, Values(32, 1.5F));
  builder.f32_tensor("blk.4.ffn_up.weight", {48, 32}, Values(48 * 32, 0.25F));
  builder.write(path);
  const Values expected = expected_logits("qwen3_5");
  EXPECT_LE(largest_difference(run_file(path), expected), tolerance(expected));
  const auto model = open_model(path);
  EXPECT_EQ(model->config()->num_hidden_layers, 4);
  EXPECT_NE(model->config_json().find("\"mtp_num_hidden_layers\": 1"), std::string::npos);
  for (const char* name : {"mtp.fc.weight", "mtp.pre_fc_norm_embedding.weight", "mtp.layers.0.mlp.up_proj.weight"}) {
    ASSERT_NE(model->find(name), nullptr) << name;
    EXPECT_FALSE(model->find(name)->matrix) << name;
  }
  Values norm(32);
  model->read(*model->find("mtp.pre_fc_norm_embedding.weight"), norm.data());
  EXPECT_EQ(norm, Values(32, 0.5F));
}

INSTANTIATE_TEST_SUITE_P(Models, TinyDecodersInGguf, testing::ValuesIn(gguf_model_names()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace mxq
