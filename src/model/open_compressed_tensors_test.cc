// Folders of compressed-tensors, made here by the definition: what is read is (code - zero) * scale.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <random>

#include "base/half.h"
#include "expect_error.h"
#include "format/compressed_tensors_config.h"
#include "format/safetensors_writer.h"
#include "model/model_source.h"
#include "model/tiny_model.h"
#include "mxq/error.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

constexpr const char* kModule = "model.layers.0.mlp.down_proj";

/// Codes of `bits` bits, one after another, in words of 32 from the lowest bit on.
std::vector<uint32_t> packed(const std::vector<int>& codes, int bits) {
  std::vector<uint32_t> words((codes.size() * bits + 31) / 32);
  for (size_t i = 0; i < codes.size(); ++i) {
    for (int b = 0; b < bits; ++b) {
      const size_t bit = i * bits + b;
      words[bit / 32] |= static_cast<uint32_t>(codes[i] >> b & 1) << (bit % 32);
    }
  }
  return words;
}

struct Case {
  int64_t rows, cols;
  PackedWeights weights;
  DType scales = DType::f16;
};

/// One matrix of random codes, scales and zeros as a folder, and its weights.
struct Folder {
  Folder(const std::filesystem::path& path, const Case& which, std::mt19937& random) : path(path), which(which) {
    const auto& [rows, cols, weights, dtype] = which;
    const int64_t group = weights.group > 0 ? weights.group : cols, per_row = cols / group;
    const int bits = static_cast<int>(weights.bits);
    std::uniform_int_distribution<int> code(0, (1 << bits) - 1);
    std::uniform_real_distribution<float> any(0.01f, 0.1f);
    std::vector<int> zeros(static_cast<size_t>(rows * per_row), 1 << (bits - 1));
    std::vector<float> scales;
    std::vector<std::byte> stored_scales;
    for (auto& zero : zeros) {
      if (!weights.symmetric) zero = code(random);
      const uint16_t half = dtype == DType::bf16 ? bf16_from_f32(any(random)) : f16_from_f32(any(random));
      const float scale = dtype == DType::f32    ? any(random)
                          : dtype == DType::bf16 ? f32_from_bf16(half)
                                                 : f32_from_f16(half);
      scales.push_back(scale);
      const auto* from = dtype == DType::f32 ? static_cast<const void*>(&scale) : &half;
      const auto* bytes = static_cast<const std::byte*>(from);
      stored_scales.insert(stored_scales.end(), bytes, bytes + (dtype == DType::f32 ? 4 : 2));
    }
    std::vector<uint32_t> words;
    for (int64_t r = 0; r < rows; ++r) {
      std::vector<int> codes;
      for (int64_t c = 0; c < cols; ++c) {
        codes.push_back(code(random));
        const auto g = static_cast<size_t>(r * per_row + c / group);
        expected.push_back(static_cast<float>(codes.back() - zeros[g]) * scales[g]);
      }
      const auto row = packed(codes, bits);
      words.insert(words.end(), row.begin(), row.end());
    }
    const int64_t zero_words = (rows * bits + 31) / 32;
    std::vector<uint32_t> stored_zeros(static_cast<size_t>(zero_words * per_row));
    for (int64_t g = 0; g < per_row; ++g) {
      std::vector<int> column;
      for (int64_t r = 0; r < rows; ++r) column.push_back(zeros[static_cast<size_t>(r * per_row + g)]);
      const auto stream = packed(column, bits);
      for (int64_t w = 0; w < zero_words; ++w) stored_zeros[static_cast<size_t>(w * per_row + g)] = stream[w];
    }
    const std::string name = kModule;
    add(name + ".weight_shape", DType::i64, {2}, std::vector<int64_t>{rows, cols});
    add(name + ".weight_packed", DType::i32, {rows, static_cast<int64_t>(words.size()) / rows}, words);
    add(name + ".weight_scale", dtype, {rows, per_row}, stored_scales);
    if (!weights.symmetric) add(name + ".weight_zero_point", DType::i32, {zero_words, per_row}, stored_zeros);
    config.groups = {{weights, {"Linear"}}};
  }

  template <typename Value>
  void add(const std::string& name, DType dtype, std::vector<int64_t> shape, const std::vector<Value>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    specs.push_back({name, dtype, std::move(shape)});
    parts.emplace_back(bytes.begin(), bytes.end());
  }

  void write() const {
    std::filesystem::create_directories(path);
    std::ofstream(path / "config.json") << set_compressed_tensors(TinyModel("llama2").config.dump(), config,
                                                                  "config.json");
    SafetensorsWriter writer(path / "model.safetensors", specs);
    for (const auto& part : parts) writer.write(part);
    writer.commit();
  }

  std::filesystem::path path;
  Case which;
  CompressedTensorsConfig config;
  std::vector<TensorSpec> specs;
  std::vector<std::vector<std::byte>> parts;
  Values expected;
};

struct CompressedTensorsFolders : testing::Test {
  TemporaryFolder folder;
  std::mt19937 random{20261130};
};

TEST_F(CompressedTensorsFolders, AreReadByTheDefinition) {
  int number = 0;
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32}) {
    for (const bool symmetric : {true, false}) {
      for (const int64_t bits : {2, 3, 4, 5, 6, 7, 8}) {
        // Groups that the affine family has, that it has not, and rows; columns that are no whole words.
        for (const auto& [cols, group] :
             {std::pair<int64_t, int64_t>{64, 32}, {192, 96}, {1024, 512}, {48, 0}, {320, 0}, {50, 0}}) {
          SCOPED_TRACE(testing::Message() << bits << " bits, " << cols << " columns in groups of " << group << " "
                                          << dtype_name(dtype) << " symmetric " << symmetric);
          Folder made(folder.path() / std::to_string(number++), {19, cols, {bits, group, symmetric}, dtype}, random);
          made.write();
          const auto model = open_model(made.path);
          const SourceTensor* const tensor = model->find(std::string(kModule) + ".weight");
          ASSERT_NE(tensor, nullptr);
          EXPECT_EQ(tensor->shape, (std::vector<int64_t>{19, cols}));
          Values read(made.expected.size());
          model->read(*tensor, read.data());
          EXPECT_EQ(read, made.expected);
          EXPECT_EQ(model->tensors().size(), 1u);
          int64_t bytes = 0;
          for (const auto& part : made.parts) bytes += static_cast<int64_t>(part.size());
          EXPECT_EQ(model->stored_bytes(*tensor), bytes);
          EXPECT_FALSE(Json::parse(model->config_json()).contains("quantization_config"));
        }
      }
    }
  }
}

TEST_F(CompressedTensorsFolders, WhatIsNotReadIsNamed) {
  int number = 0;
  const auto refused = [&](ErrorCode code, const char* why, const std::function<void(Folder&)>& change) {
    Folder made(folder.path() / std::to_string(number++), {16, 64, {4, 32, true}}, random);
    change(made);
    made.write();
    expect_error(code, why, [&] { open_model(made.path); });
  };
  refused(ErrorCode::invalid_file, "has 8 words and 2 groups a row; expected bits and groups of one of config_groups",
          [](Folder& f) { f.config.groups[0].weights.bits = 3; });
  refused(ErrorCode::invalid_file, "has 8 words and 2 groups a row",
          [](Folder& f) { f.config.groups[0].weights.group = 16; });
  refused(ErrorCode::invalid_file, "has 8 words and 2 groups a row",
          [](Folder& f) { f.config.groups[0].weights.symmetric = false; });
  refused(ErrorCode::invalid_file, "tensor 'model.layers.0.mlp.down_proj.weight_scale' is missing", [](Folder& f) {
    f.specs.pop_back();
    f.parts.pop_back();
  });
  refused(ErrorCode::unsupported, "weight_g_idx': columns in an order of their own",
          [](Folder& f) { f.add(std::string(kModule) + ".weight_g_idx", DType::i32, {64}, std::vector<int32_t>(64)); });
  refused(ErrorCode::invalid_file, "says 17 x 64", [](Folder& f) { f.parts[0][0] = std::byte{17}; });
  refused(ErrorCode::invalid_file, "has 6 elements; expected those of a 16 x 64 matrix", [](Folder& f) {
    f.config.groups[0].weights.symmetric = false;
    f.add(std::string(kModule) + ".weight_zero_point", DType::i32, {3, 2}, std::vector<int32_t>(6));
  });
  refused(ErrorCode::unsupported, "'model.layers.0.mlp.down_proj.weight_scale' is F64", [](Folder& f) {
    f.specs[2].dtype = DType::f64;
    f.parts[2].resize(16 * 2 * 8);
  });
  refused(ErrorCode::invalid_file, "no tensor is called NAME.weight_packed",
          [](Folder& f) { f.specs[1].name = "other"; });
}

TEST_F(CompressedTensorsFolders, PlainWeightsAreReadWhateverConfigSays) {
  TinyModel tiny("llama2");
  tiny.config["quantization_config"] = {{"quant_method", "compressed-tensors"}, {"format", "float-quantized"}};
  tiny.write(folder.path());
  EXPECT_EQ(open_model(folder.path())->tensors().size(), tiny.tensors.size());
}

}  // namespace
}  // namespace mxq
