// Stacks of gpt-oss's experts against their definition: a matrix of each expert out of one tensor, and back.
#include "model/expert_stacks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "expect_error.h"
#include "format/safetensors_writer.h"
#include "model/model_source.h"
#include "model/tiny_model.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

constexpr int64_t kExperts = 4, kHidden = 32, kInner = 64;
const std::string kLayer = "model.layers.1.mlp.experts.";

Values read_all(const ModelSource& model, const std::string& name) {
  const SourceTensor* const tensor = model.find(name);
  if (tensor == nullptr) throw Error(ErrorCode::not_found, "test", name);
  Values values(static_cast<size_t>(tensor->elements()));
  model.read(*tensor, values.data());
  return values;
}

std::string expert(int64_t number, const std::string& module) {
  return kLayer + std::to_string(number) + "." + module;
}

struct RawTensor {
  DType dtype = DType::u8;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
};

// The tiny model, its stacks in MXFP4.
struct Mxfp4Model {
  TinyModel tiny{"gpt_oss"};
  std::map<std::string, RawTensor> raw;

  Mxfp4Model() {
    tiny.config["intermediate_size"] = kInner;
    tiny.config["quantization_config"] = {{"quant_method", "mxfp4"}};
    std::erase_if(tiny.tensors, [](const auto& t) { return t.first.find(".experts.") != std::string::npos; });
    for (const std::string layer : {"model.layers.0.mlp.experts.", kLayer.c_str()}) {
      add(layer + "gate_up_proj", 2 * kInner, kHidden);
      add(layer + "down_proj", kHidden, kInner);
      tiny.tensors[layer + "gate_up_proj_bias"] = {{kExperts, 2 * kInner}, formula(layer + "g", kExperts * 2 * kInner)};
      tiny.tensors[layer + "down_proj_bias"] = {{kExperts, kHidden}, formula(layer + "d", kExperts * kHidden)};
    }
  }

  void add(const std::string& name, int64_t rows, int64_t cols) {
    const auto bytes = [&](const std::string& of, int64_t count, int low, int high) {
      std::vector<uint8_t> made;
      for (const float x : formula(of, static_cast<size_t>(count))) {
        made.push_back(static_cast<uint8_t>(low + std::floor((x + 0.5f) * static_cast<float>(high - low + 1))));
      }
      return made;
    };
    const int64_t blocks = cols / 32;
    raw[name + "_blocks"] = {
        DType::u8, {kExperts, rows, blocks, 16}, bytes(name + "b", kExperts * rows * blocks * 16, 0, 255)};
    raw[name + "_scales"] = {
        DType::u8, {kExperts, rows, blocks}, bytes(name + "s", kExperts * rows * blocks, 118, 126)};
  }

  // By the OCP specification: two neighbouring weights in a byte, the first in its low half; 1 bit of sign, 2 of
  // exponent, 1 of mantissa; a scale of 2^(e - 127) for 32 of them.
  float value(const std::string& stack, int64_t number, int64_t row, int64_t rows, int64_t col, int64_t cols) const {
    constexpr std::array<float, 8> levels{0, 0.5, 1, 1.5, 2, 3, 4, 6};
    const int64_t at = (number * rows + row) * cols + col;
    const uint8_t byte = raw.at(stack + "_blocks").bytes[static_cast<size_t>(at / 2)];
    const int code = col % 2 == 0 ? byte & 15 : byte >> 4;
    const int exponent = raw.at(stack + "_scales").bytes[static_cast<size_t>(at / 32)] - 127;
    return std::ldexp((code & 8) != 0 ? -levels[static_cast<size_t>(code & 7)] : levels[static_cast<size_t>(code)],
                      exponent);
  }

  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "config.json") << tiny.config.dump();
    std::vector<TensorSpec> specs;
    for (const auto& [name, tensor] : tiny.tensors) specs.push_back({name, DType::f32, tensor.shape});
    for (const auto& [name, tensor] : raw) specs.push_back({name, tensor.dtype, tensor.shape});
    SafetensorsWriter writer(folder / "model.safetensors", specs);
    for (const auto& [name, tensor] : tiny.tensors) writer.write(std::as_bytes(std::span(tensor.values)));
    for (const auto& [name, tensor] : raw) writer.write(std::as_bytes(std::span(tensor.bytes)));
    writer.commit();
  }
};

TEST(ExpertStacks, PlainOnesAreAMatrixOfEachExpert) {
  const TemporaryFolder folder;
  const TinyModel tiny("gpt_oss");
  tiny.write(folder.path());
  const auto model = open_model(folder.path());
  EXPECT_EQ(model->find(kLayer + "gate_up_proj"), nullptr);
  EXPECT_TRUE(model->notes().empty());
  const int64_t inner = 48;
  const Values &gate_up = tiny.tensors.at(kLayer + "gate_up_proj").values,
               &gate_up_bias = tiny.tensors.at(kLayer + "gate_up_proj_bias").values,
               &down = tiny.tensors.at(kLayer + "down_proj").values,
               &down_bias = tiny.tensors.at(kLayer + "down_proj_bias").values;
  int64_t stored = 0;
  for (const SourceTensor& tensor : model->tensors()) stored += model->stored_bytes(tensor);
  int64_t expected_bytes = 0;
  for (const auto& [name, tensor] : tiny.tensors) expected_bytes += 4 * std::ssize(tensor.values);
  EXPECT_EQ(stored, expected_bytes);
  for (int64_t e = 0; e < kExperts; ++e) {
    for (const auto& [module, part] : {std::pair("gate_proj", 0), {"up_proj", 1}}) {
      const SourceTensor& tensor = *model->find(expert(e, module) + ".weight");
      ASSERT_TRUE(tensor.matrix);
      EXPECT_EQ(tensor.stored_name, tensor.name);
      EXPECT_EQ(tensor.stored_as, "F32");
      ASSERT_THAT(tensor.shape, testing::ElementsAre(inner, kHidden));
      Values expected;
      for (int64_t r = 0; r < inner; ++r) {
        for (int64_t k = 0; k < kHidden; ++k) {
          expected.push_back(gate_up[static_cast<size_t>((e * kHidden + k) * 2 * inner + 2 * r + part)]);
        }
      }
      EXPECT_EQ(read_all(*model, tensor.name), expected);
      Values rows(5 * kHidden);
      model->read_rows(tensor, 7, 5, rows.data());
      EXPECT_TRUE(std::equal(rows.begin(), rows.end(), expected.begin() + 7 * kHidden));
      Values biases;
      for (int64_t r = 0; r < inner; ++r) {
        biases.push_back(gate_up_bias[static_cast<size_t>(e * 2 * inner + 2 * r + part)]);
      }
      EXPECT_EQ(read_all(*model, expert(e, module) + ".bias"), biases);
    }
    Values expected;
    for (int64_t r = 0; r < kHidden; ++r) {
      for (int64_t k = 0; k < inner; ++k) {
        expected.push_back(down[static_cast<size_t>((e * inner + k) * kHidden + r)]);
      }
    }
    EXPECT_EQ(read_all(*model, expert(e, "down_proj.weight")), expected);
    EXPECT_EQ(read_all(*model, expert(e, "down_proj.bias")),
              Values(down_bias.begin() + e * kHidden, down_bias.begin() + (e + 1) * kHidden));
  }
  const auto hash = [&](const std::string& name) {
    ContentHash content;
    model->hash(*model->find(name), content);
    return content.hex();
  };
  EXPECT_NE(hash(expert(0, "gate_proj.weight")), hash(expert(0, "up_proj.weight")));
  EXPECT_NE(hash(expert(0, "gate_proj.weight")), hash(expert(1, "gate_proj.weight")));
}

TEST(ExpertStacks, Mxfp4IsAMatrixOfEachExpert) {
  const TemporaryFolder folder;
  const Mxfp4Model mxfp4;
  mxfp4.write(folder.path());
  const auto model = open_model(folder.path());
  EXPECT_TRUE(model->notes().empty());
  EXPECT_EQ(model->config_json().find("quantization_config"), std::string::npos);
  for (const auto& [module, stack, rows, cols, parts, part] :
       {std::tuple("gate_proj", "gate_up_proj", kInner, kHidden, 2, 0),
        {"up_proj", "gate_up_proj", kInner, kHidden, 2, 1},
        {"down_proj", "down_proj", kHidden, kInner, 1, 0}}) {
    for (int64_t e = 0; e < kExperts; ++e) {
      const SourceTensor& tensor = *model->find(expert(e, module) + ".weight");
      ASSERT_TRUE(tensor.matrix);
      EXPECT_EQ(tensor.dtype, DType::bf16);
      EXPECT_EQ(tensor.stored_as, "MXFP4");
      EXPECT_EQ(model->output_dtype(tensor), DType::bf16);
      EXPECT_EQ(model->stored_bytes(tensor), rows * cols / 32 * 17);
      Values expected;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t k = 0; k < cols; ++k) {
          expected.push_back(mxfp4.value(kLayer + stack, e, r * parts + part, rows * parts, k, cols));
        }
      }
      EXPECT_EQ(read_all(*model, tensor.name), expected) << tensor.name;
      const QuantizedMatrix groups = model->exact_groups(tensor);
      EXPECT_LT(groups.layout.total_bytes(), rows * cols * 2);
      Values back(expected.size());
      dequantize_matrix(groups.view(), back.data());
      EXPECT_EQ(back, expected);
    }
  }
}

TEST(ExpertStacks, RefusesWhatDoesNotFitTogether) {
  const TemporaryFolder folder;
  const auto refused = [&](ErrorCode code, const std::string& message, const std::function<void(Mxfp4Model&)>& change) {
    Mxfp4Model model;
    change(model);
    model.write(folder.path());
    expect_error(code, message, [&] { open_model(folder.path()); });
  };
  const auto invalid = ErrorCode::invalid_file;
  const std::string up = kLayer + "gate_up_proj", down = kLayer + "down_proj";
  refused(invalid, "tensor '" + up + "_scales' is missing; expected it beside '" + up + "_blocks'",
          [&](auto& model) { model.raw.erase(up + "_scales"); });
  refused(invalid, "tensor '" + up + "_blocks' is missing; expected it beside '" + up + "_scales'",
          [&](auto& model) { model.raw.erase(up + "_blocks"); });
  refused(invalid, "'" + up + "' is there both quantized and as it was", [&](auto& model) {
    model.tiny.tensors[up] = {{kExperts, kHidden, 2 * kInner}, Values(kExperts * kHidden * 2 * kInner)};
  });
  refused(invalid, "'" + up + "_blocks' has shape [4, 64, 1, 32]; expected [4, 128, 1, 16] by the config",
          [&](auto& model) {
            model.raw[up + "_blocks"].shape = {4, 64, 1, 32};
          });
  refused(invalid, "'" + down + "_scales' has shape [4, 64]; expected [4, 32, 2] by the config", [&](auto& model) {
    model.raw[down + "_scales"].shape = {4, 64};
  });
  refused(invalid, "'" + down + "_blocks' has shape [4, 32, 2, 16]; expected [3, 32, 2, 16] by the config",
          [&](auto& model) {
            model.tiny.config["num_local_experts"] = 3;
            std::erase_if(model.raw, [&](const auto& t) { return t.first.find("gate_up") != std::string::npos; });
            std::erase_if(model.tiny.tensors, [&](const auto& t) { return t.first.ends_with("_proj_bias"); });
            std::erase_if(model.raw, [&](const auto& t) { return t.first.starts_with("model.layers.0."); });
          });
  refused(invalid, "of rows of 48 weights; expected a multiple of 32", [&](auto& model) {
    model.tiny.config["intermediate_size"] = 48;
    std::erase_if(model.raw, [&](const auto& t) { return t.first.find("gate_up") != std::string::npos; });
    std::erase_if(model.tiny.tensors, [&](const auto& t) { return t.first.ends_with("_proj_bias"); });
  });
  refused(ErrorCode::unsupported, "tensor '" + up + "_scales' is I8; expected U8",
          [&](auto& model) { model.raw[up + "_scales"].dtype = DType::i8; });
  refused(invalid, "'" + up + "_bias' has shape [128, 4]; expected [4, 128] by the config", [&](auto& model) {
    model.tiny.tensors[up + "_bias"].shape = {128, 4};
  });
  refused(invalid, "'" + up + "' has shape [4, 128, 32]; expected [4, 32, 128] by the config", [&](auto& model) {
    for (const char* part : {"_blocks", "_scales"}) model.raw.erase(up + part);
    model.tiny.tensors[up] = {{kExperts, 2 * kInner, kHidden}, Values(kExperts * kHidden * 2 * kInner)};
  });
  refused(ErrorCode::unsupported, "tensor '" + up + "' is I8; expected F64, F32, F16 or BF16", [&](auto& model) {
    for (const char* part : {"_blocks", "_scales"}) model.raw.erase(up + part);
    model.raw[up] = {DType::i8, {kExperts, kHidden, 2 * kInner}, std::vector<uint8_t>(kExperts * kHidden * 2 * kInner)};
  });
}

// 255 is NaN by the specification; 2^127 * 2 is beyond fp32.
TEST(ExpertStacks, RefusesScalesThatAreNoNumbers) {
  const TemporaryFolder folder;
  for (const uint8_t scale : {255, 254}) {
    Mxfp4Model mxfp4;
    mxfp4.raw[kLayer + "down_proj_scales"].bytes[5] = scale;  // of row 2 of expert 0
    auto& blocks = mxfp4.raw[kLayer + "down_proj_blocks"].bytes;
    std::fill_n(blocks.begin() + 5 * 16, 16, uint8_t{0x77});
    mxfp4.write(folder.path());
    const auto model = open_model(folder.path());
    const std::string name = expert(0, "down_proj.weight");
    expect_error(ErrorCode::not_finite, "'" + name + "' holds ", [&] { read_all(*model, name); });
    expect_error(ErrorCode::not_finite, "has a scale of exponent " + std::to_string(scale) + " at row 2, block 1",
                 [&] { model->exact_groups(*model->find(name)); });
    EXPECT_NO_THROW(read_all(*model, expert(1, "down_proj.weight")));
  }
}

TEST(ExpertStacks, OfOtherModelsAndLayersStayWhole) {
  const TemporaryFolder folder;
  TinyModel tiny("gpt_oss");
  tiny.config["model_type"] = "gpt_oss2";
  tiny.write(folder.path());
  EXPECT_EQ(open_model(folder.path())->find(kLayer + "gate_up_proj")->role, TensorRole::stack);
  tiny.config["model_type"] = "gpt_oss";
  tiny.config["num_hidden_layers"] = 1;
  tiny.config["layer_types"] = {"sliding_attention"};
  tiny.write(folder.path());
  const auto model = open_model(folder.path());
  EXPECT_EQ(model->find(kLayer + "gate_up_proj")->role, TensorRole::stack);
  EXPECT_TRUE(model->find("model.layers.0.mlp.experts.3.up_proj.weight")->matrix);
}

TEST(ExpertStacks, AreRestoredUnderTheFilesPrefix) {
  const TemporaryFolder folder;
  TinyModel tiny("gpt_oss");
  std::map<std::string, Tensor> renamed;
  for (const auto& [name, tensor] : tiny.tensors) {
    renamed[name.starts_with("lm_head") ? name : "language_" + name] = tensor;
  }
  tiny.tensors = renamed;
  tiny.write(folder.path());
  const auto model = open_model(folder.path());
  const auto stacks = restored_stacks(*model);
  ASSERT_EQ(stacks.size(), 8u);
  std::vector<std::string> names;
  for (const RestoredStack& stack : stacks) {
    names.push_back(stack.stored_name);
    EXPECT_EQ(stack.shape, tiny.tensors.at(stack.stored_name).shape);
    EXPECT_EQ(stack.experts.size(), 4u);
  }
  EXPECT_THAT(names, testing::Contains("language_model.layers.1.mlp.experts.gate_up_proj_bias"));
  EXPECT_EQ(stacks[0].experts[2][1]->name, "model.layers.0.mlp.experts.2.up_proj.weight");
  TinyModel("mixtral").write(folder.path());
  EXPECT_TRUE(restored_stacks(*open_model(folder.path())).empty());
}

Values values_of(const ModelSource& model, const SourceTensor& tensor) {
  Values values(static_cast<size_t>(tensor.elements()));
  model.read(tensor, values.data());
  return values;
}

// transformers 5 keeps Qwen's experts so: [experts, gate above up, in] and [experts, out, in].
TinyModel with_joined_stacks(const std::string& name) {
  TinyModel tiny(name);
  std::map<std::string, Tensor> joined;
  for (auto& [tensor, contents] : tiny.tensors) {
    const size_t at = tensor.find("experts.");
    if (at == std::string::npos) {
      joined[tensor] = contents;
      continue;
    }
    const std::string before = tensor.substr(0, at + 8);
    const int64_t experts = tiny.config["num_experts"];
    for (const auto& [stack, modules] :
         {std::pair("gate_up_proj", std::vector<std::string>{"gate_proj", "up_proj"}), {"down_proj", {"down_proj"}}}) {
      Tensor& whole = joined[before + stack];
      if (!whole.values.empty()) continue;
      for (int64_t e = 0; e < experts; ++e) {
        for (const auto& module : modules) {
          const Tensor& one = tiny.tensors.at(before + std::to_string(e) + "." + module + ".weight");
          whole.values.insert(whole.values.end(), one.values.begin(), one.values.end());
          whole.shape = {experts, one.shape[0] * std::ssize(modules), one.shape[1]};
        }
      }
    }
  }
  tiny.tensors = std::move(joined);
  return tiny;
}

TEST(ExpertStacks, JoinedOnesOfQwenAreTheSameMatrices) {
  for (const char* name : {"qwen2_moe", "qwen3_moe", "qwen3_next"}) {
    const TemporaryFolder folder;
    TinyModel(name).write(folder / "each");
    TinyModel joined = with_joined_stacks(name);
    joined.write(folder / "joined");
    const auto each = open_model(folder / "each"), all = open_model(folder / "joined");
    ASSERT_EQ(each->tensors().size(), all->tensors().size());
    for (const SourceTensor& tensor : each->tensors()) {
      const SourceTensor* found = all->find(tensor.name);
      ASSERT_NE(found, nullptr) << tensor.name;
      ASSERT_EQ(found->shape, tensor.shape);
      EXPECT_EQ(found->matrix.has_value(), tensor.matrix.has_value()) << tensor.name;
      EXPECT_EQ(values_of(*all, *found), values_of(*each, tensor)) << tensor.name;
    }
    // Published files have a matrix an expert, which both versions of transformers load.
    EXPECT_TRUE(restored_stacks(*all).empty());

    const std::string own = "model.layers.0.mlp.experts.1.up_proj.weight";
    joined.tensors[own] = TinyModel(name).tensors.at(own);
    joined.write(folder / "twice");
    expect_error(ErrorCode::invalid_file, "two tensors hold '" + own + "'", [&] { open_model(folder / "twice"); });
  }
}

// transformers 5 calls block_sparse_moe mlp; what is written has the published names.
TEST(ExpertStacks, OfMixtralUnderTransformers5sNames) {
  const TemporaryFolder folder;
  const TinyModel tiny("mixtral");
  TinyModel renamed = tiny;
  renamed.tensors.clear();
  for (const auto& [name, tensor] : tiny.tensors) {
    const size_t at = name.find(".block_sparse_moe.");
    if (at == std::string::npos) {
      renamed.tensors[name] = tensor;
    } else if (name.find(".experts.") == std::string::npos) {
      renamed.tensors[name.substr(0, at) + ".mlp.gate.weight"] = tensor;
    }
  }
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    Tensor gate_up, down;
    for (const std::string expert : {"0", "1", "2", "3"}) {
      for (const auto& [matrix, stack] : {std::pair("w1", &gate_up), {"w3", &gate_up}, {"w2", &down}}) {
        const Tensor& one = tiny.tensors.at(layer + "block_sparse_moe.experts." + expert + "." + matrix + ".weight");
        stack->values.insert(stack->values.end(), one.values.begin(), one.values.end());
        stack->shape = {4, one.shape[0] * (stack == &gate_up ? 2 : 1), one.shape[1]};
      }
    }
    renamed.tensors[layer + "mlp.experts.gate_up_proj"] = gate_up;
    renamed.tensors[layer + "mlp.experts.down_proj"] = down;
  }
  tiny.write(folder / "published");
  renamed.write(folder / "renamed");
  const auto published = open_model(folder / "published"), model = open_model(folder / "renamed");
  EXPECT_EQ(model->tensors().size(), published->tensors().size());
  for (const SourceTensor& tensor : published->tensors()) {
    const SourceTensor* found = model->find(tensor.name);
    ASSERT_NE(found, nullptr) << tensor.name;
    EXPECT_EQ(found->stored_name, tensor.stored_name);
    EXPECT_EQ(values_of(*model, *found), values_of(*published, tensor)) << tensor.name;
  }
}

TEST(ExpertStacks, OfQwen35AreRestored) {
  const TemporaryFolder folder;
  const TinyModel tiny("qwen3_5_moe");
  tiny.write(folder.path());
  const auto model = open_model(folder.path());
  const auto stacks = restored_stacks(*model);
  ASSERT_EQ(stacks.size(), 8u);
  for (const RestoredStack& stack : stacks) EXPECT_EQ(stack.shape, tiny.tensors.at(stack.stored_name).shape);
}

}  // namespace
}  // namespace mxq
