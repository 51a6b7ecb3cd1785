#include "model/matrix_names.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mxq {
namespace {

struct Named {
  const char* name;
  const char* layer;
  const char* module;
};

TEST(MatrixNames, AreTheLinearLayersOfAnyStackAndTheEmbeddings) {
  for (const Named& expected : std::initializer_list<Named>{
           {"model.layers.0.self_attn.q_proj.weight", "0", "self_attn.q_proj"},
           {"model.layers.31.mlp.gate_up_proj.weight", "31", "mlp.gate_up_proj"},
           {"model.layers.1.mlp.experts.3.gate_proj.weight", "1", "mlp.experts.3.gate_proj"},
           {"model.layers.1.block_sparse_moe.experts.10.w2.weight", "1", "block_sparse_moe.experts.10.w2"},
           {"model.language_model.layers.2.mlp.up_proj.weight", "2", "mlp.up_proj"},
           {"language_model.model.layers.2.mlp.up_proj.weight", "2", "mlp.up_proj"},
           {"layers.7.self_attn.dense.weight", "7", "self_attn.dense"},
           {"transformer.h.11.attn.c_attn.weight", "11", "attn.c_attn"},
           {"h.11.mlp.c_proj.weight", "11", "mlp.c_proj"},
           {"gpt_neox.layers.4.attention.query_key_value.weight", "4", "attention.query_key_value"},
           {"model.decoder.layers.0.fc1.weight", "0", "fc1"},
           {"transformer.blocks.1.attn.Wqkv.weight", "1", "attn.Wqkv"},
           {"backbone.layers.3.mixer.in_proj.weight", "3", "mixer.in_proj"},
           {"encoder.block.2.layer.0.SelfAttention.q.weight", "2", "layer.0.SelfAttention.q"},
           {"bert.encoder.layer.5.attention.self.query.weight", "5", "attention.self.query"},
           {"rwkv.blocks.0.attention.gate.weight", "0", "attention.gate"},
           {"model.layers.0.conv.in_proj.weight", "0", "conv.in_proj"},
           {"model.embed_tokens.weight", "", "model.embed_tokens"},
           {"language_model.model.embed_tokens.weight", "", "language_model.model.embed_tokens"},
           {"transformer.wte.weight", "", "transformer.wte"},
           {"backbone.embeddings.weight", "", "backbone.embeddings"},
           {"gpt_neox.embed_in.weight", "", "gpt_neox.embed_in"},
           {"embed_out.weight", "", "embed_out"},
           {"lm_head.weight", "", "lm_head"}}) {
    const auto parsed = parse_matrix_name(expected.name);
    ASSERT_TRUE(parsed) << expected.name;
    EXPECT_EQ(parsed->layer, expected.layer) << expected.name;
    EXPECT_EQ(parsed->module, expected.module) << expected.name;
    EXPECT_NE(tensor_role(expected.name, std::vector<int64_t>{64, 64}), TensorRole::other) << expected.name;
  }
}

TEST(MatrixNames, AreNoNormsTablesConvolutionsOrRouters) {
  for (const char* name : {"model.embed_tokens.bias",
                           "model.norm.weight",
                           "model.layers.0.input_layernorm.weight",
                           "model.layers.0.self_attn.q_proj.bias",
                           "model.layers.0.self_attn.q_norm.weight",
                           "model.layers.0.weight",
                           "model.layers.x.self_attn.q_proj.weight",
                           "model.layers..self_attn.q_proj.weight",
                           "model.layers.0..weight",
                           "model.layers.0.block_sparse_moe.gate.weight",
                           "model.layers.0.mlp.gate.weight",
                           "mixer.gate.weight",
                           "model.layers.0.block_sparse_moe.router.layer.weight",
                           "model.layers.0.mlp.shared_expert_gate.weight",
                           "model.layers.0.mixer.conv1d.weight",
                           "model.layers.0.mixer.dt_proj.weight",
                           "model.layers.weight",
                           "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                           "model.decoder.embed_positions.weight",
                           "visual.blocks.0.attn.qkv.weight",
                           "vision_tower.encoder.layers.0.self_attn.q_proj.weight",
                           "multi_modal_projector.linear_1.weight",
                           "model.layers.0.self_attn.q_proj.weights",
                           "transformer.wpe.weight",
                           "self_attn.q_proj.weight",
                           "0.weight",
                           ".weight",
                           "weight",
                           "."}) {
    EXPECT_FALSE(parse_matrix_name(name)) << name;
  }
}

TEST(MatrixNames, RolesDependOnNameAndShape) {
  struct Case {
    const char* name;
    std::vector<int64_t> shape;
    TensorRole role;
  };
  for (const Case& expected : std::initializer_list<Case>{
           {"model.layers.0.self_attn.q_proj.weight", {64, 32}, TensorRole::matrix},
           {"model.layers.0.self_attn.q_proj.weight", {16, 16}, TensorRole::matrix},
           {"model.layers.0.self_attn.q_proj.weight", {1, 1}, TensorRole::matrix},
           {"model.layers.0.linear_attn.in_proj_ba.weight", {15, 64}, TensorRole::small},
           {"model.layers.0.mamba.x_proj.weight", {64, 15}, TensorRole::small},
           {"model.layers.0.self_attn.q_proj.weight", {64}, TensorRole::other},
           {"model.layers.0.self_attn.q_norm.weight", {32, 128}, TensorRole::other},  // of Cohere, a row a head
           {"model.layers.0.mlp.gate.weight", {4, 64}, TensorRole::router},
           {"model.layers.0.mlp.experts.gate_up_proj", {4, 256, 64}, TensorRole::stack},
           {"model.layers.0.mlp.experts.gate_up_proj_bias", {4, 256}, TensorRole::other},
           {"model.layers.0.block_sparse_moe.input_linear.weight", {4, 256, 64}, TensorRole::stack},
           {"transformer.blocks.0.ffn.experts.mlp.w1", {1024, 64}, TensorRole::unnamed},
           {"model.layers.0.mamba.conv1d.weight", {128, 1, 4}, TensorRole::other},
           {"model.layers.0.conv.conv.weight", {64, 1, 3}, TensorRole::other},
           {"model.layers.0.mamba.A_log", {128, 16}, TensorRole::other},
           {"model.layers.0.mamba.dt_proj.weight", {128, 64}, TensorRole::time_step},
           {"model.embed_tokens.weight", {384, 64}, TensorRole::embedding},
           {"model.embed_tokens.weight", {4, 8}, TensorRole::embedding},
           {"lm_head.weight", {384, 64}, TensorRole::head},
           {"visual.blocks.0.attn.qkv.weight", {96, 32}, TensorRole::tower},
           {"visual.merger.mlp.0.weight", {96, 32}, TensorRole::tower},
           {"visual.patch_embed.proj.weight", {32, 3, 2, 14, 14}, TensorRole::other},
           {"multi_modal_projector.linear_1.weight", {64, 64}, TensorRole::outside},
           {"score.weight", {2, 64}, TensorRole::outside},
           {"transformer.wpe.weight", {512, 64}, TensorRole::other}}) {
    EXPECT_EQ(tensor_role(expected.name, expected.shape), expected.role) << expected.name;
  }
}

TEST(MatrixNames, LayersForMoreTokensAreToldFromTheText) {
  EXPECT_TRUE(is_multi_token("mtp.layers.0.self_attn.q_proj.weight"));
  EXPECT_TRUE(is_multi_token("model.mtp.layers.1.mlp.up_proj.weight"));
  EXPECT_FALSE(is_multi_token("model.layers.0.mtp.fc.weight"));
  EXPECT_FALSE(is_multi_token("mtp.fc.weight"));
}

TEST(MatrixNames, StacksAreWhatStandsBeforeTheNumber) {
  EXPECT_EQ(stack_name("model.layers.0.self_attn.q_proj.weight"), "model.layers");
  EXPECT_EQ(stack_name("model.language_model.layers.12.mlp.up_proj"), "model.language_model.layers");
  EXPECT_EQ(stack_name("h.3.attn.c_attn.weight"), "h");
  EXPECT_EQ(stack_name("lm_head.weight"), "");
  EXPECT_EQ(stack_name(""), "");
}

}  // namespace
}  // namespace mxq
