// What the AWQ target promises is what its files hold, and what it writes comes back; what it has no place for is
// named.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

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
struct AwqTarget : TargetFixture {
  AwqTarget() : TargetFixture(awq_target(), {Fit::mse, 1, Metadata::f16_bias}, {{"down_proj"}, false}) {
    options.feedback.zero_point = ZeroPoint::integer;
    scheme = {4, 32};
  }
};

TEST_F(AwqTarget, BytesAreWhatWasPromised) {
  open("llama2");
  for (const auto* tensor : matrices) {
    EXPECT_EQ(target.matrix_bytes(scheme, options, tensor->rows(), tensor->cols()),
              tensor->elements() / 2 + tensor->elements() / 32 * 5 / 2);
  }
  expect_promised_bytes(8'000);
}

/// Against the definition: eight neighbours of a row of W^T in a word, 0 2 4 6 1 3 5 7.
TEST_F(AwqTarget, TensorsLieAsLoadersReadThem) {
  constexpr int kPlaces[] = {0, 4, 1, 5, 2, 6, 3, 7};
  for (const ZeroPoint zero_point : {ZeroPoint::symmetric, ZeroPoint::integer}) {
    for (const Metadata metadata : {Metadata::f16_bias, Metadata::bf16_bias}) {
      SCOPED_TRACE(testing::Message() << metadata_name(metadata) << " " << zero_point_name(zero_point));
      options.metadata = metadata;
      options.feedback.zero_point = zero_point;
      open("qwen2");
      write();
      const TensorStore store = open_safetensors(out);
      const auto again = open_model(out);
      for (const auto* tensor : matrices) {
        const std::string name = tensor->matrix_name();
        const int64_t rows = tensor->rows(), cols = tensor->cols();
        const TensorView &codes = *store.find(name + ".qweight"), &zeros = *store.find(name + ".qzeros");
        const TensorView& scales = *store.find(name + ".scales");
        EXPECT_EQ(codes.shape, (std::vector<int64_t>{cols, rows / 8}));
        EXPECT_EQ(zeros.shape, (std::vector<int64_t>{cols / 32, rows / 8}));
        EXPECT_EQ(scales.shape, (std::vector<int64_t>{cols / 32, rows}));
        const SourceTensor& stored = *again->find(tensor->name);
        const Values read = weights_of(*again, stored);
        EXPECT_EQ(again->stored_bytes(stored), target.matrix_bytes(scheme, options, rows, cols));
        const QuantizedMatrix made = quantized(*tensor);
        std::vector<uint8_t> chosen(static_cast<size_t>(rows * cols));
        unpack_codes(made.part("codes"), 4, 0, rows * cols, chosen.data());
        const auto nibble = [&](const TensorView& view, int64_t line, int64_t n) {
          uint32_t word;
          std::memcpy(&word, view.bytes.data() + 4 * (line * (rows / 8) + n / 8), 4);
          return static_cast<int>(word >> (4 * kPlaces[n % 8]) & 15);
        };
        for (int64_t i = 0; i < rows * cols; ++i) {
          const int64_t n = i / cols, k = i % cols, g = k / 32;
          const int code = nibble(codes, k, n), zero = nibble(zeros, g, n);
          uint16_t half;
          std::memcpy(&half, scales.bytes.data() + 2 * (g * rows + n), 2);
          const float scale = metadata == Metadata::f16_bias ? f32_from_f16(half) : f32_from_bf16(half);
          if (zero_point == ZeroPoint::symmetric) {
            ASSERT_EQ(zero, 8);
          }
          ASSERT_EQ(code, chosen[static_cast<size_t>(i)]);
          ASSERT_EQ(read[static_cast<size_t>(i)], static_cast<float>(code - zero) * scale);
        }
      }
      EXPECT_EQ(again->tensors().size(), model->tensors().size());
    }
  }
}

TEST_F(AwqTarget, ConfigNamesWhatIsLeft) {
  open("llama2");
  write();
  const Json config = Json::parse(read_file(out / "config.json"));
  const Json& said = config["quantization_config"];
  EXPECT_EQ(said["quant_method"], "awq");
  EXPECT_EQ(said["version"], "gemm");
  EXPECT_EQ(said["bits"], 4);
  EXPECT_EQ(said["group_size"], 32);
  EXPECT_EQ(said["zero_point"], true);
  EXPECT_EQ(said["modules_to_not_convert"],
            Json({"model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "lm_head"}));
  EXPECT_EQ(config["torch_dtype"], "float16");
}

TEST_F(AwqTarget, WhatTheFormatHasNoPlaceForIsNamed) {
  const auto refused = [&](std::vector<Scheme> schemes, const char* why) {
    expect_error(ErrorCode::usage, why, [&] { target.check(options, schemes); });
  };
  target.check(options, std::vector<Scheme>{{4, 128}});
  refused({{3, 64}}, "schemes: b3g64 for the format awq; expected b4g32, b4g64 or b4g128");
  refused({{4, 64}, {4, 128}}, "b4g128 beside b4g64 for the format awq; expected one of b4g32, b4g64 or b4g128");
  QuantizeOptions how = options;
  how.fit = Fit::awq;
  const Scheme usual{4, 128};
  expect_error(ErrorCode::usage, "fit: awq for the format awq; expected gptq or mse", [&] {
    target.check(how, {&usual, 1});
  });
  how = options;
  how.feedback.zero_point = ZeroPoint::real;
  expect_error(ErrorCode::usage, "zero-point: real for the format awq; expected integer or symmetric", [&] {
    target.check(how, {&usual, 1});
  });
  EXPECT_FALSE(target.holds({4, 32}, options, 20, 32));
  open("llama2");
  Export mixed = all_in_one_scheme();
  // A plan from a file may say anything: of these, only o_proj has columns for it.
  for (auto& matrix : mixed.matrices) {
    if (matrix.tensor->name.ends_with("o_proj.weight")) matrix.layout.scheme.group = 64;
  }
  expect_error(ErrorCode::usage, "in b4g64; expected groups that divide its columns", [&] {
    target.write(mixed, {out, false, {}}, {}, nullptr);
  });
  EXPECT_FALSE(std::filesystem::exists(out));
}

}  // namespace
}  // namespace mxq
