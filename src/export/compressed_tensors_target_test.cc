// What the compressed-tensors target promises is what its files hold, and what it writes comes back; what it has no
// place for is named.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "expect_error.h"
#include "export/target_fixture.h"
#include "format/safetensors.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {
namespace {

/// All projections whose columns are whole groups; the tiny models' down_proj has 48.
struct CompressedTensorsTarget : TargetFixture {
  CompressedTensorsTarget()
      : TargetFixture(compressed_tensors_target(), {Fit::mse, 1, Metadata::bf16_bias}, {{"down_proj"}, false}) {
    options.feedback.zero_point = ZeroPoint::symmetric;
  }
};

TEST_F(CompressedTensorsTarget, BytesAreWhatWasPromised) {
  for (const Metadata metadata : {Metadata::f16_bias, Metadata::bf16_bias}) {
    options.metadata = metadata;
    open("llama2");
    for (const auto* tensor : matrices) {
      EXPECT_EQ(target.matrix_bytes(scheme, options, tensor->rows(), tensor->cols()),
                16 + tensor->elements() * 3 / 8 + 2 * tensor->elements() / 32);
    }
    expect_promised_bytes(8'000);
  }
}

/// Readers take views of the file.
TEST_F(CompressedTensorsTarget, ElementsAreAligned) {
  open("qwen2");
  write();
  const TensorStore store = open_safetensors(out);
  const auto* const first = store.find("model.layers.0.self_attn.q_proj.weight_shape");
  ASSERT_NE(first, nullptr);
  for (const TensorView& view : store.tensors()) {
    const auto unit = dtype_block_bytes(view.dtype);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.bytes.data()) % static_cast<uintptr_t>(unit), 0u) << view.name;
  }
}

TEST_F(CompressedTensorsTarget, ComesBackBitForBit) {
  for (const char* name : {"llama2", "qwen2", "gemma3", "phi3", "glm4", "cohere2", "olmo2"}) {
    for (const auto& [metadata, bits] : {std::pair{Metadata::bf16_bias, 3},
                                         {Metadata::f16_bias, 2},
                                         {Metadata::f16_bias, 5},
                                         {Metadata::f16_bias, 8}}) {
      SCOPED_TRACE(testing::Message() << name << " " << bits);
      options.metadata = metadata;
      scheme.bits = bits;
      open(name);
      write();
      const auto again = open_model(out);
      for (const auto* tensor : matrices) {
        const SourceTensor* const stored = again->find(tensor->name);
        ASSERT_NE(stored, nullptr) << tensor->name;
        EXPECT_EQ(stored->stored_as, scheme.name());
        Values expected(static_cast<size_t>(tensor->elements()));
        dequantize_matrix(quantized(*tensor).view(), expected.data());
        EXPECT_EQ(weights_of(*again, *stored), expected) << tensor->name;
        EXPECT_EQ(again->output_dtype(*stored), metadata == Metadata::f16_bias ? DType::f16 : DType::bf16);
        EXPECT_EQ(again->stored_bytes(*stored), target.matrix_bytes(scheme, options, tensor->rows(), tensor->cols()));
      }
      EXPECT_EQ(again->tensors().size(), model->tensors().size());
      EXPECT_FALSE(Json::parse(again->config_json()).contains("quantization_config"));
    }
  }
}

/// Against the definition: code i of a row at bit b i, 32 codes in b words.
TEST_F(CompressedTensorsTarget, CodesLieAsThePackageUnpacksThem) {
  options.metadata = Metadata::f16_bias;
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    SCOPED_TRACE(bits);
    scheme.bits = bits;
    open("llama2");
    write();
    const TensorStore store = open_safetensors(out);
    const auto again = open_model(out);
    for (const auto* tensor : matrices) {
      const std::string name = tensor->matrix_name();
      const TensorView &packed = *store.find(name + ".weight_packed"), &scales = *store.find(name + ".weight_scale");
      EXPECT_EQ(packed.dtype, DType::i32);
      EXPECT_EQ(packed.shape, (std::vector<int64_t>{tensor->rows(), tensor->cols() * bits / 32}));
      EXPECT_EQ(scales.shape, (std::vector<int64_t>{tensor->rows(), tensor->cols() / 32}));
      const Values weights = weights_of(*again, *again->find(tensor->name));
      for (int64_t i = 0; i < tensor->elements(); ++i) {
        const int64_t row = i / tensor->cols(), col = i % tensor->cols();
        int code = 0;
        for (int b = 0; b < bits; ++b) {
          const int64_t bit = col * bits + b, word = row * packed.shape[1] + bit / 32;
          uint32_t value;
          std::memcpy(&value, packed.bytes.data() + 4 * word, 4);
          code |= static_cast<int>(value >> (bit % 32) & 1) << b;
        }
        uint16_t half;
        std::memcpy(&half, scales.bytes.data() + 2 * (i / 32), 2);
        ASSERT_EQ(weights[static_cast<size_t>(i)], static_cast<float>(code - (1 << (bits - 1))) * f32_from_f16(half));
      }
    }
  }
}

TEST_F(CompressedTensorsTarget, ConfigNamesEveryModule) {
  open("llama2");
  Export what = all_in_one_scheme();
  for (auto& matrix : what.matrices) {
    if (!matrix.tensor->name.ends_with("o_proj.weight")) continue;
    matrix.layout.scheme = {8, 32};
    matrix.make = [this, tensor = matrix.tensor] {
      const auto weights = weights_of(*model, *tensor);
      return quantize_matrix({weights.data(), tensor->rows(), tensor->cols()}, {8, 32}, options);
    };
  }
  target.write(what, {out, false, {}}, {}, nullptr);
  const Json config = Json::parse(read_file(out / "config.json"));
  const Json& quantization = config["quantization_config"];
  EXPECT_EQ(quantization["quant_method"], "compressed-tensors");
  EXPECT_EQ(quantization["format"], "pack-quantized");
  ASSERT_EQ(quantization["config_groups"].size(), 2u);
  EXPECT_EQ(quantization["config_groups"]["group_1"]["targets"],
            Json({"model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.o_proj"}));
  EXPECT_EQ(quantization["config_groups"]["group_1"]["weights"]["num_bits"], 8);
  EXPECT_EQ(quantization["ignore"], Json({"model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "lm_head"}));
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(open_model(out)->find("model.layers.0.self_attn.o_proj.weight")->stored_as, "b8g32");
}

TEST_F(CompressedTensorsTarget, WhatTheFormatHasNoPlaceForIsNamed) {
  const auto refused = [&](const std::function<void(QuantizeOptions&)>& change, Scheme in, const char* why) {
    QuantizeOptions how = options;
    change(how);
    expect_error(ErrorCode::usage, why, [&] { target.check(how, {&in, 1}); });
  };
  const auto as_it_is = [](QuantizeOptions&) {};
  target.check(options, wide_schemes());
  refused(as_it_is, parse_scheme("gauss3g64"), "gauss3g64 for the format compressed-tensors; expected b2, b3");
  refused(as_it_is, {4, 16}, "b4g16 for the format compressed-tensors");
  refused([](auto& how) { how.metadata = Metadata::q8; }, {4, 64}, "metadata: q8 for the format");
  refused([](auto& how) { how.axis = 0; }, {4, 64}, "axis: 0 for the format");
  refused([](auto& how) { how.fit = Fit::hqq; }, {4, 64},
          "fit: hqq for the format compressed-tensors; expected gptq or mse");
  refused([](auto& how) { how.normalize = Normalize::rotation; }, {4, 64}, "normalize: rotation for the format");
  refused([](auto& how) { how.feedback.zero_point = ZeroPoint::real; }, {4, 64}, "zero-point: real for the format");
  open("llama2");
  EXPECT_FALSE(target.holds({4, 32}, options, 3, 32));  // an odd number of scales
  scheme.group = 64;
  expect_error(ErrorCode::usage, "48 x 32, in b3g64; expected groups that divide its columns", [&] { write(); });
  scheme.group = 32;
  Export what = all_in_one_scheme();
  what.matrices.erase(what.matrices.begin());
  ASSERT_TRUE(matrices.front()->name.ends_with("gate_proj.weight")) << matrices.front()->name;
  expect_error(ErrorCode::usage, "one scheme for modules that the runtime fuses", [&] {
    target.write(what, {out, false, {}}, {}, nullptr);
  });
  Export real = all_in_one_scheme();
  real.matrices.front().make = [this] {
    const SourceTensor& tensor = *matrices.front();
    const auto weights = weights_of(*model, tensor);
    return quantize_matrix({weights.data(), tensor.rows(), tensor.cols()}, scheme, {Fit::mse, 1, Metadata::bf16_bias});
  };
  expect_error(ErrorCode::unsupported, "has the zero", [&] { target.write(real, {out, false, {}}, {}, nullptr); });
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(CompressedTensorsTarget, ModelsThatAreNotWrittenAreNamed) {
  for (const char* name : {"mixtral", "qwen3_moe", "gpt_oss", "qwen3_5"}) {
    std::filesystem::remove_all(folder.path() / "model");
    TinyModel(name).write(folder.path() / "model");
    const auto opened = open_model(folder.path() / "model");
    expect_error(ErrorCode::unsupported, "a model of the type", [&] { target.check_model(*opened); });
  }
  open("llama2");
  target.check_model(*model);
}

}  // namespace
}  // namespace mxq
