#include "model/gguf_names.h"

#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace mxq {
namespace {

std::optional<std::string> hf_name(const Architecture& architecture, std::string_view gguf_name) {
  const auto known = hf_name_from_gguf(architecture, gguf_name);
  return known ? std::optional(known->name) : std::nullopt;
}

TEST(GgufNames, TranslateBothWays) {
  const std::vector<std::pair<const char*, const char*>> pairs{
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"},
      {"blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"},
      {"blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"},
      {"blk.7.attn_k.bias", "model.layers.7.self_attn.k_proj.bias"},
      {"blk.10.attn_v.weight", "model.layers.10.self_attn.v_proj.weight"},
      {"blk.123.attn_output.weight", "model.layers.123.self_attn.o_proj.weight"},
      {"blk.1.attn_q_norm.weight", "model.layers.1.self_attn.q_norm.weight"},
      {"blk.1.attn_k_norm.weight", "model.layers.1.self_attn.k_norm.weight"},
      {"blk.1.ffn_norm.weight", "model.layers.1.post_attention_layernorm.weight"},
      {"blk.1.ffn_gate.weight", "model.layers.1.mlp.gate_proj.weight"},
      {"blk.1.ffn_up.weight", "model.layers.1.mlp.up_proj.weight"},
      {"blk.1.ffn_down.bias", "model.layers.1.mlp.down_proj.bias"}};
  for (const auto& [gguf, hf] : pairs) {
    EXPECT_EQ(hf_name(qwen3_architecture(), gguf), hf);
    EXPECT_EQ(gguf_name_from_hf(qwen3_architecture(), hf), gguf);
  }
}

TEST(GgufNames, OthersHaveNone) {
  for (const char* name :
       {"", ".weight", "blk", "blk.", "blk.0", "blk.0.", "blk.0.weight", "blk..attn_q.weight", "blk.x.attn_q.weight",
        "blk.-1.attn_q.weight", "blk.01.attn_q.weight", "blk.0.attn_q", "blk.0.attn_q.scale",
        "blk.0.ffn_gate_exps.weight", "token_embd", "rope_freqs.weight", "model.layers.0.self_attn.q_proj.weight"}) {
    EXPECT_FALSE(hf_name(qwen3_architecture(), name)) << name;
  }
  EXPECT_EQ(gguf_name_from_hf(qwen3_architecture(), "model.layers.0.self_attn.rotary_emb.inv_freq"), std::nullopt);
  EXPECT_EQ(gguf_name_from_hf(qwen3_architecture(), "blk.0.attn_q.weight"), std::nullopt);
  EXPECT_TRUE(gguf_is_rope_table("rope_freqs.weight"));
  EXPECT_FALSE(gguf_is_rope_table("output.weight"));
}

TEST(GgufNames, AnArchitectureHasItsOwn) {
  EXPECT_FALSE(hf_name(llama_architecture(), "blk.1.attn_q_norm.weight"));
  EXPECT_EQ(gguf_name_from_hf(llama_architecture(), "model.layers.1.self_attn.k_norm.weight"), std::nullopt);
}

// What the gguf package's get_tensor_name_map() says of names that another architecture gives another part.
TEST(GgufNames, OfEveryArchitecture) {
  const auto expect = [](const char* architecture, const std::vector<std::pair<const char*, const char*>>& names) {
    const Architecture& known = *find_gguf_architecture(architecture);
    for (const auto& [hf, gguf] : names) {
      const std::string long_hf = std::string("model.layers.3.") + hf + ".weight";
      const std::string long_gguf = std::string("blk.3.") + gguf + ".weight";
      EXPECT_EQ(gguf_name_from_hf(known, long_hf), long_gguf) << architecture;
      EXPECT_EQ(hf_name(known, long_gguf), long_hf) << architecture;
    }
  };
  for (const char* gemma : {"gemma2", "gemma3"}) {
    expect(gemma, {{"input_layernorm", "attn_norm"},
                   {"post_attention_layernorm", "post_attention_norm"},
                   {"pre_feedforward_layernorm", "ffn_norm"},
                   {"post_feedforward_layernorm", "post_ffw_norm"}});
  }
  expect("gemma3", {{"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"}});
  expect("phi3", {{"self_attn.qkv_proj", "attn_qkv"},
                  {"mlp.gate_up_proj", "ffn_up"},
                  {"mlp.down_proj", "ffn_down"},
                  {"post_attention_layernorm", "ffn_norm"}});
  for (const char* like_llama : {"smollm3", "granite"}) expect(like_llama, {{"post_attention_layernorm", "ffn_norm"}});
  expect("olmo2", {{"self_attn.q_norm", "attn_q_norm"},
                   {"post_attention_layernorm", "post_attention_norm"},
                   {"post_feedforward_layernorm", "post_ffw_norm"}});
  expect("glm4", {{"post_self_attn_layernorm", "post_attention_norm"},
                  {"post_attention_layernorm", "ffn_norm"},
                  {"post_mlp_layernorm", "post_ffw_norm"},
                  {"mlp.gate_up_proj", "ffn_up"}});
  expect("cohere2", {{"input_layernorm", "attn_norm"}, {"self_attn.o_proj", "attn_output"}, {"mlp.up_proj", "ffn_up"}});
  EXPECT_FALSE(hf_name(olmo2_architecture(), "blk.3.attn_norm.weight"));
  EXPECT_FALSE(hf_name(cohere2_architecture(), "blk.3.ffn_norm.weight"));
}

TEST(GgufNames, WhatIsPermuted) {
  for (const Architecture* architecture : architectures()) {
    const std::set<std::string_view> permuted{"llama", "mistral", "mixtral", "granite", "smollm3"};
    EXPECT_EQ(architecture->gguf_permutes_rows, permuted.contains(architecture->name)) << architecture->name;
  }
}

TEST(GgufNames, OfExpertsAreOneForAll) {
  const Architecture &mixtral = mixtral_architecture(), &qwen = qwen2_moe_architecture();
  EXPECT_EQ(hf_name(mixtral, "blk.2.ffn_up_exps.weight"), "model.layers.2.block_sparse_moe.experts.{}.w3.weight");
  EXPECT_EQ(gguf_name_from_hf(mixtral, "model.layers.2.block_sparse_moe.experts.7.w3.weight"),
            "blk.2.ffn_up_exps.weight");
  EXPECT_EQ(hf_name(qwen, "blk.0.ffn_gate_inp_shexp.weight"), "model.layers.0.mlp.shared_expert_gate.weight");
  EXPECT_FALSE(hf_name(llama_architecture(), "blk.0.ffn_up_exps.weight"));
  const Architecture& gpt_oss = gpt_oss_architecture();
  EXPECT_EQ(hf_name(gpt_oss, "blk.5.ffn_gate_exps.bias"), "model.layers.5.mlp.experts.{}.gate_proj.bias");
  EXPECT_EQ(gguf_name_from_hf(gpt_oss, "model.layers.5.mlp.experts.31.down_proj.bias"), "blk.5.ffn_down_exps.bias");
  EXPECT_EQ(hf_name(gpt_oss, "blk.5.ffn_gate_inp.bias"), "model.layers.5.mlp.router.bias");
}

// llama.cpp's converter adds ".weight" to what has no ending in HF.
TEST(GgufNames, SinksHaveAnEndingInGgufAlone) {
  const Architecture& gpt_oss = gpt_oss_architecture();
  EXPECT_EQ(hf_name(gpt_oss, "blk.5.attn_sinks.weight"), "model.layers.5.self_attn.sinks");
  EXPECT_EQ(gguf_name_from_hf(gpt_oss, "model.layers.5.self_attn.sinks"), "blk.5.attn_sinks.weight");
  EXPECT_EQ(gguf_name_from_hf(gpt_oss, "model.layers.5.self_attn.sinks.weight"), std::nullopt);
  EXPECT_EQ(gguf_name_from_hf(gpt_oss, "model.layers.5.self_attn.q_proj"), std::nullopt);
  EXPECT_FALSE(hf_name(gpt_oss, "blk.5.attn_sinks"));
}

// The names of gguf-py's constants.py, which has endings of its own here.
TEST(GgufNames, OfLinearAttention) {
  const Architecture &next = qwen3_next_architecture(), &qwen = qwen3_5_architecture();
  for (const auto& [gguf, hf] : {std::pair("blk.2.ssm_a", "A_log"),
                                 {"blk.2.ssm_dt.bias", "dt_bias"},
                                 {"blk.2.ssm_conv1d.weight", "conv1d.weight"},
                                 {"blk.2.ssm_norm.weight", "norm.weight"},
                                 {"blk.2.ssm_out.weight", "out_proj.weight"}}) {
    for (const Architecture* architecture : {&next, &qwen}) {
      const std::string name = std::string("model.layers.2.linear_attn.") + hf;
      EXPECT_EQ(hf_name(*architecture, gguf), name);
      EXPECT_EQ(gguf_name_from_hf(*architecture, name), gguf);
    }
  }
  EXPECT_EQ(hf_name(next, "blk.0.post_attention_norm.weight"), "model.layers.0.post_attention_layernorm.weight");
  EXPECT_EQ(hf_name(qwen, "blk.0.ssm_beta.weight"), "model.layers.0.linear_attn.in_proj_b.weight");
  EXPECT_EQ(hf_name(qwen, "blk.0.ssm_alpha.weight"), "model.layers.0.linear_attn.in_proj_a.weight");
  EXPECT_EQ(hf_name(qwen, "blk.0.attn_gate.weight"), "model.layers.0.linear_attn.in_proj_z.weight");
  EXPECT_EQ(hf_name(next, "blk.0.ssm_ba.weight"), "model.layers.0.linear_attn.in_proj_ba.weight");
  for (const char* wrong : {"blk.2.ssm_a.weight", "blk.2.ssm_dt", "blk.2.ssm_dt.weight", "blk.2..weight", "blk.2."}) {
    EXPECT_FALSE(hf_name(next, wrong)) << wrong;
  }
}

TEST(GgufNames, ATensorMayLieInTwo) {
  const Architecture& next = qwen3_next_architecture();
  const std::string name = "model.layers.4.linear_attn.in_proj_qkvz.weight";
  for (const auto& [gguf, piece, pieces] :
       {std::tuple("blk.4.attn_qkv.weight", 0, 2), {"blk.4.attn_gate.weight", 1, 2}, {"blk.4.ssm_in.weight", 0, 1}}) {
    const auto known = hf_name_from_gguf(next, gguf);
    ASSERT_TRUE(known) << gguf;
    EXPECT_EQ(known->name, name);
    EXPECT_EQ(known->piece, piece);
    EXPECT_EQ(known->pieces, pieces);
  }
  const auto back = find_gguf_name(next, name);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->name, "blk.4.attn_qkv.weight");
  EXPECT_EQ(back->rest, "blk.4.attn_gate.weight");
  EXPECT_EQ(back->tensor->part, LayerPart::linear_qkvz);
}

TEST(GgufNames, LayersThatForetellMore) {
  const Architecture& qwen = qwen3_5_architecture();
  const auto mtp = [&](const char* name) {
    const auto known = hf_name_from_gguf(qwen, name, 3);
    return known ? known->name : "";
  };
  EXPECT_EQ(mtp("blk.2.attn_q.weight"), "model.layers.2.self_attn.q_proj.weight");
  EXPECT_EQ(mtp("blk.3.attn_q.weight"), "mtp.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(mtp("blk.3.nextn.eh_proj.weight"), "mtp.fc.weight");
  EXPECT_EQ(mtp("blk.3.nextn.enorm.weight"), "mtp.pre_fc_norm_embedding.weight");
  EXPECT_EQ(mtp("blk.3.nextn.hnorm.weight"), "mtp.pre_fc_norm_hidden.weight");
  EXPECT_EQ(mtp("blk.3.nextn.shared_head_norm.weight"), "mtp.norm.weight");
  for (const char* name : {"blk.2.attn_q.weight", "blk.3.attn_q.weight", "blk.3.nextn.eh_proj.weight",
                           "blk.3.nextn.enorm.weight", "blk.3.nextn.shared_head_norm.weight"}) {
    const auto back = find_gguf_name(qwen, mtp(name), 3);
    ASSERT_TRUE(back) << name;
    EXPECT_EQ(back->name, name);
  }
  EXPECT_FALSE(find_gguf_name(qwen, "mtp.fc.weight"));
  EXPECT_EQ(mtp("blk.2.nextn.eh_proj.weight"), "");
  EXPECT_FALSE(hf_name_from_gguf(qwen, "blk.3.nextn.eh_proj.weight"));
}

}  // namespace
}  // namespace mxq
