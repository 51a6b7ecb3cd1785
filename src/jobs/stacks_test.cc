// Experts in stacks come back as transformers loads them, from whatever file their matrices were in.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "format/safetensors.h"
#include "format/weights.h"
#include "model/model_state.h"
#include "model/tiny_model_gguf.h"
#include "mxq/measure.h"
#include "mxq/quantize_model.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

std::map<std::string, Tensor> tensors_of(const std::filesystem::path& folder) {
  std::map<std::string, Tensor> tensors;
  const TensorStore store = open_safetensors(folder);
  for (const TensorView& view : store.tensors()) {
    Tensor& tensor = tensors[view.name] = {view.shape, Values(static_cast<size_t>(view.elements()))};
    read_f32(view, 0, view.elements(), tensor.values.data());
  }
  return tensors;
}

void expect_equal(const std::map<std::string, Tensor>& found, const std::map<std::string, Tensor>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(found.contains(name)) << name;
    EXPECT_EQ(found.at(name).shape, tensor.shape) << name;
    EXPECT_EQ(found.at(name).values, tensor.values) << name;
  }
}

TEST(Stacks, DequantizeRestoresThem) {
  const TemporaryFolder folder;
  const TinyModel tiny("gpt_oss");
  tiny.write(folder / "model");
  dequantize_model(folder / "model", folder / "again", {});
  expect_equal(tensors_of(folder / "again"), tiny.tensors);
  TinyConversion(tiny).builder().write(folder / "tiny.gguf");
  dequantize_model(folder / "tiny.gguf", folder / "of_gguf", {});
  expect_equal(tensors_of(folder / "of_gguf"), tiny.tensors);
  EXPECT_EQ(parse_hf_config(read_file(folder / "of_gguf" / "config.json"), "gguf"),
            parse_hf_config(tiny.config.dump(), "tiny"));
}

TEST(Stacks, AreMadeOfQuantizedMatrices) {
  const TemporaryFolder folder;
  TinyModel tiny("gpt_oss");
  tiny.config["quantization_config"] = {{"quant_method", "mxfp4"}};  // which is not so
  tiny.write(folder / "model");
  const Model model(folder / "model");
  MeasureOptions options;
  options.schemes = parse_schemes("b8g32");
  const ErrorTable table = measure_model(model, options).table;
  PlanFile plan;
  plan.quantize = options.quantize;
  AllocateOptions allocation;
  plan.plan = allocate(table, reachable_bytes(table, allocation).largest, allocation);
  // All but the router and what has no matrix: 4 of attention and 3 of each of 4 experts, in two layers.
  EXPECT_EQ(plan.plan.matrices.size(), 2u * (4 + 3 * 4));
  quantize_model(model, folder / "out", plan);
  dequantize_model(folder / "out", folder / "plain", {});
  const auto found = tensors_of(folder / "plain");
  ASSERT_EQ(found.size(), tiny.tensors.size());
  for (const auto& [name, tensor] : tiny.tensors) {
    ASSERT_TRUE(found.contains(name)) << name;
    ASSERT_EQ(found.at(name).shape, tensor.shape) << name;
    double error = 0, square = 0;
    for (size_t i = 0; i < tensor.values.size(); ++i) {
      error += std::pow(double{found.at(name).values[i]} - tensor.values[i], 2);
      square += std::pow(double{tensor.values[i]}, 2);
    }
    EXPECT_LE(error, 1e-4 * square) << name;  // 8 bits
  }
  EXPECT_FALSE(Json::parse(read_file(folder / "plain" / "config.json")).contains("quantization_config"));
  dequantize_model(folder / "out", folder / "bf16", DType::bf16);
  const TensorStore bf16 = open_safetensors(folder / "bf16");
  EXPECT_EQ(bf16.find("model.layers.0.mlp.experts.down_proj")->dtype, DType::bf16);
}

}  // namespace
}  // namespace mxq
