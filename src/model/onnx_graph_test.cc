// Graphs of all architectures: what nodes read is there, once. That they compute the model is for onnxruntime to show
// (tests/integration/onnx_peer.py).
#include "model/onnx_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <set>
#include <string>

#include "expect_error.h"
#include "model/tiny_model.h"

namespace mxq {
namespace {

constexpr const char* kModels[] = {"llama2", "llama_bias", "llama_yarn", "mistral", "qwen2",   "qwen3", "gemma2",
                                   "gemma3", "phi3",       "smollm3",    "olmo2",   "granite", "glm4",  "cohere2"};

ModelConfig config_of(const TinyModel& tiny) {
  return parse_hf_config(tiny.config.dump(), "config.json");
}

std::vector<OnnxWeight> weights_of(const TinyModel& tiny, std::optional<Scheme> scheme) {
  std::vector<OnnxWeight> weights;
  for (const auto& [name, tensor] : tiny.tensors) {
    const bool matrix = tensor.shape.size() == 2;
    weights.push_back({name, matrix ? DType::f16 : DType::f32, tensor.shape, matrix ? scheme : std::nullopt});
  }
  return weights;
}

TEST(OnnxGraphs, WhatNodesReadIsThereOnce) {
  for (const char* name : kModels) {
    for (const auto& scheme : {std::optional<Scheme>(), std::optional(Scheme{4, 16})}) {
      SCOPED_TRACE(name);
      const TinyModel tiny(name);
      const OnnxModel model = onnx_graph(config_of(tiny), weights_of(tiny, scheme), "test");
      std::set<std::string> known{""}, initializers, used;
      for (const OnnxTensor& tensor : model.initializers) {
        EXPECT_TRUE(known.insert(tensor.name).second) << tensor.name;
        initializers.insert(tensor.name);
      }
      for (const OnnxValue& value : model.inputs) EXPECT_TRUE(known.insert(value.name).second) << value.name;
      for (const OnnxNode& node : model.nodes) {
        for (const auto& input : node.inputs) {
          EXPECT_TRUE(known.contains(input)) << node.name << " reads " << input;
          used.insert(input);
        }
        for (const auto& output : node.outputs) EXPECT_TRUE(known.insert(output).second) << output;
      }
      for (const OnnxValue& value : model.outputs) EXPECT_TRUE(known.contains(value.name)) << value.name;
      for (const auto& initializer : initializers) EXPECT_TRUE(used.contains(initializer)) << initializer;
    }
  }
}

TEST(OnnxGraphs, AQuantizedMatrixIsCodesAndScales) {
  const TinyModel tiny("llama2");
  const OnnxModel model = onnx_graph(config_of(tiny), weights_of(tiny, Scheme{2, 32}), "test");
  const std::string name = "model.layers.1.self_attn.q_proj.weight";  // 32 x 32
  const auto find = [&](const std::string& of) {
    return *std::ranges::find_if(model.initializers, [&](const OnnxTensor& tensor) { return tensor.name == of; });
  };
  EXPECT_EQ(find(name + "_codes"), (OnnxTensor{name + "_codes", OnnxType::u8, {32, 1, 8}}));
  EXPECT_EQ(find(name + "_scales"), (OnnxTensor{name + "_scales", OnnxType::f16, {32, 1}}));
  const auto node = std::ranges::find_if(model.nodes, [](const OnnxNode& one) { return one.name == "layers.1.q"; });
  ASSERT_NE(node, model.nodes.end());
  EXPECT_EQ(node->op, "MatMulNBits");
  EXPECT_EQ(node->inputs, (std::vector<std::string>{"layers.1.input", name + "_codes", name + "_scales.f32"}));
  for (const auto& [attribute, value] :
       {std::pair<const char*, int64_t>{"K", 32}, {"N", 32}, {"bits", 2}, {"block_size", 32}}) {
    EXPECT_EQ(std::get<int64_t>(node->find(attribute)->value), value) << attribute;
  }
}

TEST(OnnxGraphs, SchemesAreThoseThatOnnxruntimeHasKernelsFor) {
  for (const Scheme& scheme : {Scheme{2, 32}, {2, 128}, {4, 16}, {4, 256}, {8, 16}, {8, 256}}) {
    EXPECT_TRUE(is_onnx_scheme(scheme)) << scheme.name();
  }
  for (const Scheme& scheme : {Scheme{2, 16},
                               {2, 256},
                               {3, 32},
                               {5, 64},
                               {6, 64},
                               {4, 8},
                               {4, 96},
                               {8, 512},
                               {4, 0},
                               {4, -32},
                               {4, 32, "gauss"}}) {
    EXPECT_FALSE(is_onnx_scheme(scheme)) << scheme.bits << " " << scheme.group;
  }
}

TEST(OnnxGraphs, WhatTheyHaveNoOperatorsForIsNamed) {
  const auto refused = [](const char* name, const char* why, const std::function<void(Json&)>& change) {
    TinyModel tiny(name);
    change(tiny.config);
    expect_error(ErrorCode::unsupported, why, [&] { check_onnx_config(config_of(tiny), "write onnx"); });
  };
  const auto as_it_is = [](Json&) {};
  for (const char* name : {"mixtral", "qwen3_moe", "gpt_oss", "qwen3_5"})
    refused(name, "a model of the type", as_it_is);
  refused("llama_dynamic", "'rope_scaling' of type 'dynamic'", as_it_is);
  refused("llama_longrope", "'rope_scaling' of type 'longrope'", as_it_is);
  refused("llama2", "hidden_act", [](Json& config) { config["hidden_act"] = "gelu"; });
  TinyModel tiny("llama2");
  auto weights = weights_of(tiny, {});
  std::erase_if(weights, [](const OnnxWeight& weight) { return weight.name == "model.layers.1.mlp.up_proj.weight"; });
  expect_error(ErrorCode::not_found, "'model.layers.1.mlp.up_proj.weight' is missing",
               [&] { onnx_graph(config_of(tiny), weights, "test"); });
}

}  // namespace
}  // namespace mxq
