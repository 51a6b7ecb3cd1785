// What the GPTQ target promises is what its files hold, and what it writes comes back; what it has no place for is
// named.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/bitpack.h"
#include "base/half.h"
#include "expect_error.h"
#include "export/target_fixture.h"
#include "format/safetensors.h"
#include "mxq/error.h"
#include "mxq/files.h"

namespace mxq {
namespace {

/// All projections whose columns are whole groups; the tiny models' down_proj has 48.
struct GptqTarget : TargetFixture {
  GptqTarget() : TargetFixture(gptq_target(), {Fit::mse, 1, Metadata::bf16_bias}, {{"down_proj"}, false}) {
    options.feedback.zero_point = ZeroPoint::symmetric;
    scheme = {4, 32};
  }

  /// Of 3 bits the zeros of 32 rows fill words, and no fewer.
  void only_wide_rows() { selection = {{"down_proj|gate|up_proj|[qkv]_proj"}, false}; }
};

/// Bits at bit `at` of a stream of words down the first dimension (`step` words apart).
int bits_at(const TensorView& view, int64_t first, int64_t step, int64_t at, int bits) {
  int value = 0;
  for (int b = 0; b < bits; ++b) {
    uint32_t word;
    std::memcpy(&word, view.bytes.data() + 4 * (first + (at + b) / 32 * step), 4);
    value |= static_cast<int>(word >> ((at + b) % 32) & 1) << b;
  }
  return value;
}

TEST_F(GptqTarget, BytesAreWhatWasPromised) {
  for (const ZeroPoint zero_point : {ZeroPoint::symmetric, ZeroPoint::integer}) {
    options.feedback.zero_point = zero_point;
    open("llama2");
    for (const auto* tensor : matrices) {
      EXPECT_EQ(target.matrix_bytes(scheme, options, tensor->rows(), tensor->cols()),
                tensor->elements() / 2 + tensor->elements() / 32 * 5 / 2 + 4 * tensor->cols());
    }
    expect_promised_bytes(8'000);
  }
}

/// Against the definition: W = (code - zero) * scale, zeros of version 1 less one.
TEST_F(GptqTarget, TensorsLieAsLoadersReadThem) {
  for (const ZeroPoint zero_point : {ZeroPoint::symmetric, ZeroPoint::integer}) {
    for (const Metadata metadata : {Metadata::f16_bias, Metadata::bf16_bias}) {
      for (const int bits : {2, 3, 4, 8}) {
        SCOPED_TRACE(testing::Message() << bits << " bits " << metadata_name(metadata) << " "
                                        << zero_point_name(zero_point));
        options = {Fit::mse, 1, metadata};
        options.feedback.zero_point = zero_point;
        scheme.bits = bits;
        selection = {{"down_proj"}, false};
        if (bits == 3) only_wide_rows();
        open("qwen2");
        write();
        const TensorStore store = open_safetensors(out);
        const auto again = open_model(out);
        ASSERT_FALSE(matrices.empty());
        for (const auto* tensor : matrices) {
          const std::string name = tensor->matrix_name();
          const int64_t rows = tensor->rows(), cols = tensor->cols();
          const TensorView &codes = *store.find(name + ".qweight"), &zeros = *store.find(name + ".qzeros");
          const TensorView &scales = *store.find(name + ".scales"), &groups = *store.find(name + ".g_idx");
          EXPECT_EQ(codes.shape, (std::vector<int64_t>{cols * bits / 32, rows}));
          EXPECT_EQ(zeros.shape, (std::vector<int64_t>{cols / 32, rows * bits / 32}));
          EXPECT_EQ(scales.shape, (std::vector<int64_t>{cols / 32, rows}));
          EXPECT_EQ(groups.shape, std::vector<int64_t>{cols});
          EXPECT_EQ(codes.dtype, DType::i32);
          EXPECT_EQ(scales.dtype, metadata == Metadata::f16_bias ? DType::f16 : DType::bf16);
          const SourceTensor& stored = *again->find(tensor->name);
          const Values read = weights_of(*again, stored);
          EXPECT_EQ(again->stored_bytes(stored), target.matrix_bytes(scheme, options, rows, cols));
          // The codes are those that the fit has chosen.
          const QuantizedMatrix made = quantized(*tensor);
          std::vector<uint8_t> chosen(static_cast<size_t>(rows * cols));
          unpack_codes(made.part("codes"), bits, 0, rows * cols, chosen.data());
          for (int64_t i = 0; i < rows * cols; ++i) {
            const int64_t n = i / cols, k = i % cols, g = k / 32;
            int32_t group;
            std::memcpy(&group, groups.bytes.data() + 4 * k, 4);
            ASSERT_EQ(group, g);
            const int code = bits_at(codes, n, rows, k * bits, bits);
            const int zero = bits_at(zeros, g * (rows * bits / 32), 1, n * bits, bits) +
                             (zero_point == ZeroPoint::symmetric ? 1 : 0);
            if (zero_point == ZeroPoint::symmetric) {
              ASSERT_EQ(zero, 1 << (bits - 1));
            }
            uint16_t half;
            std::memcpy(&half, scales.bytes.data() + 2 * (g * rows + n), 2);
            const float scale = metadata == Metadata::f16_bias ? f32_from_f16(half) : f32_from_bf16(half);
            ASSERT_EQ(code, chosen[static_cast<size_t>(i)]);
            ASSERT_EQ(read[static_cast<size_t>(i)], static_cast<float>(code - zero) * scale);
          }
        }
        EXPECT_EQ(again->tensors().size(), model->tensors().size());
        EXPECT_FALSE(Json::parse(again->config_json()).contains("quantization_config"));
      }
    }
  }
}

TEST_F(GptqTarget, ComesBackBitForBit) {
  for (const char* name : {"llama2", "llama3", "qwen2", "gemma3", "phi3", "glm4", "cohere2", "olmo2"}) {
    SCOPED_TRACE(name);
    open(name);
    write();
    const auto again = open_model(out);
    for (const auto* tensor : matrices) {
      const SourceTensor* const stored = again->find(tensor->name);
      ASSERT_NE(stored, nullptr) << tensor->name;
      Values expected(static_cast<size_t>(tensor->elements()));
      dequantize_matrix(quantized(*tensor).view(), expected.data());
      EXPECT_EQ(weights_of(*again, *stored), expected) << tensor->name;
      EXPECT_EQ(again->output_dtype(*stored), DType::bf16);
    }
  }
}

/// Readers take views of the file.
TEST_F(GptqTarget, ElementsAreAligned) {
  open("qwen2");
  write();
  const TensorStore store = open_safetensors(out);
  for (const TensorView& view : store.tensors()) {
    const auto unit = dtype_block_bytes(view.dtype);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.bytes.data()) % static_cast<uintptr_t>(unit), 0u) << view.name;
  }
}

TEST_F(GptqTarget, RulesSayWhatEachModuleIsIn) {
  open("llama2");
  Export what = all_in_one_scheme();
  for (auto& matrix : what.matrices) {
    const bool qkv = std::regex_search(matrix.tensor->name, std::regex("layers\\.1\\..*[qkv]_proj"));
    if (!qkv && !matrix.tensor->name.ends_with("o_proj.weight")) continue;
    matrix.layout.scheme = qkv ? Scheme{2, 32} : Scheme{8, 32};
    matrix.make = [this, scheme = matrix.layout.scheme, tensor = matrix.tensor] {
      const auto weights = weights_of(*model, *tensor);
      return quantize_matrix({weights.data(), tensor->rows(), tensor->cols()}, scheme, options);
    };
  }
  target.write(what, {out, false, {}}, {}, nullptr);
  const Json config = Json::parse(read_file(out / "config.json"));
  const Json& said = config["quantization_config"];
  EXPECT_EQ(said, Json::parse(read_file(out / "quantize_config.json")));
  EXPECT_EQ(said["quant_method"], "gptq");
  EXPECT_EQ(said["checkpoint_format"], "gptq");
  EXPECT_EQ(said["sym"], true);
  EXPECT_EQ(said["bits"], 2);  // where any are, vLLM's kernels of all widths have to be chosen
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  EXPECT_EQ(said["modules_in_block_to_quantize"].at(0).size(), matrices.size());
  // The first rule that matches, as loaders look for it; none: what is usual.
  const auto rule_of = [&](const std::string& module) -> Json {
    for (const auto& [name, rule] : said["dynamic"].items()) {
      if (!std::regex_search(module, std::regex(name.substr(2)))) continue;
      return name.starts_with("-:") ? Json(false) : rule;
    }
    return {{"bits", said["bits"]}, {"group_size", said["group_size"]}};
  };
  for (const auto& matrix : what.matrices) {
    const Json rule = rule_of(matrix.tensor->matrix_name());
    EXPECT_EQ(rule["bits"], matrix.layout.scheme.bits) << matrix.tensor->name;
    EXPECT_EQ(rule["group_size"], 32) << matrix.tensor->name;
  }
  for (const char* fused : {"model.layers.0.self_attn.qkv_proj", "model.layers.0.mlp.gate_up_proj"}) {
    EXPECT_EQ(rule_of(fused)["bits"], 4) << fused;
  }
  EXPECT_EQ(rule_of("model.layers.1.self_attn.qkv_proj")["bits"], 2);
  EXPECT_EQ(rule_of("model.layers.0.mlp.down_proj"), false);
  EXPECT_EQ(rule_of("model.layers.1.mlp.down_proj"), false);
}

TEST_F(GptqTarget, WhatALoaderDoesNotFindIsTold) {
  for (const char* name : {"phi3", "glm4", "llama2"}) {
    open(name);
    const auto notes = write().notes;
    const bool told = std::any_of(notes.begin(), notes.end(), [](const std::string& note) {
      return note.find("GPTQModel 7.7 does not find 'model.layers.0.mlp.gate_up_proj'") != note.npos;
    });
    EXPECT_EQ(told, std::string(name) != "llama2") << name;
  }
}

TEST_F(GptqTarget, ZerosOfTheirOwnAreVersion2) {
  options.feedback.zero_point = ZeroPoint::integer;
  open("llama2");
  write();
  const Json said = Json::parse(read_file(out / "config.json"))["quantization_config"];
  EXPECT_EQ(said["checkpoint_format"], "gptq_v2");
  EXPECT_EQ(said["sym"], false);
}

TEST_F(GptqTarget, WhatTheFormatHasNoPlaceForIsNamed) {
  const auto refused = [&](const std::function<void(QuantizeOptions&)>& change, Scheme in, const char* why) {
    QuantizeOptions how = options;
    change(how);
    expect_error(ErrorCode::usage, why, [&] { target.check(how, {&in, 1}); });
  };
  const auto as_it_is = [](QuantizeOptions&) {};
  target.check(options, paper_schemes());
  refused(as_it_is, {5, 64}, "b5g64 for the format gptq; expected b2, b3, b4 or b8 with g32, g64 or g128");
  refused(as_it_is, {4, 256}, "b4g256 for the format gptq");
  refused(as_it_is, parse_scheme("gauss3g64"), "gauss3g64 for the format gptq");
  refused([](auto& how) { how.metadata = Metadata::f16; }, {4, 64}, "metadata: f16 for the format gptq");
  refused([](auto& how) { how.axis = 0; }, {4, 64}, "axis: 0 for the format gptq");
  refused([](auto& how) { how.fit = Fit::rtn; }, {4, 64}, "fit: rtn for the format gptq; expected gptq or mse");
  refused([](auto& how) { how.normalize = Normalize::columns; }, {4, 64}, "normalize: columns for the format gptq");
  refused([](auto& how) { how.feedback.zero_point = ZeroPoint::real; }, {4, 64},
          "zero-point: real for the format gptq; expected symmetric or integer");
  open("llama2");
  EXPECT_FALSE(target.holds({3, 32}, options, 48, 32));
  EXPECT_TRUE(target.holds({3, 32}, options, 64, 32));
  EXPECT_FALSE(target.holds({4, 32}, options, 4, 32));
  EXPECT_FALSE(target.holds({4, 64}, options, 64, 96));
  scheme.bits = 3;
  expect_error(ErrorCode::usage, "48 x 32, in b3g32; expected groups that divide its columns, and rows whose zeros",
               [&] { write(); });
  scheme.bits = 4;
  Export real = all_in_one_scheme();
  real.matrices.front().make = [this] {
    const SourceTensor& tensor = *matrices.front();
    const auto weights = weights_of(*model, tensor);
    return quantize_matrix({weights.data(), tensor.rows(), tensor.cols()}, scheme, {Fit::mse, 1, Metadata::bf16_bias});
  };
  expect_error(ErrorCode::unsupported, "expected 8, the zero of all groups", [&] {
    target.write(real, {out, false, {}}, {}, nullptr);
  });
  real.quantize.feedback.zero_point = ZeroPoint::integer;
  expect_error(ErrorCode::unsupported, "expected a whole number of 0 to 15", [&] {
    target.write(real, {out, false, {}}, {}, nullptr);
  });
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST_F(GptqTarget, ModelsThatAreNotWrittenAreNamed) {
  for (const char* name : {"mixtral", "qwen3_moe", "gpt_oss", "qwen3_5"}) {
    std::filesystem::remove_all(folder.path() / "model");
    TinyModel(name).write(folder.path() / "model");
    const auto opened = open_model(folder.path() / "model");
    expect_error(ErrorCode::unsupported, "write gptq: a model of the type", [&] { target.check_model(*opened); });
  }
}

}  // namespace
}  // namespace mxq
