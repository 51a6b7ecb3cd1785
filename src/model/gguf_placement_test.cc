#include "model/gguf_placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "expect_error.h"
#include "model/layer_tensors.h"

namespace mxq {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::FloatEq;
using testing::Pointwise;

// A tensor of F32 in memory.
struct Stored {
  std::vector<float> values;
  TensorView view;

  Stored(std::string name, std::vector<int64_t> shape, std::vector<float> given) : values(std::move(given)) {
    view.name = std::move(name);
    view.dtype = DType::f32;
    view.shape = std::move(shape);
    view.bytes = std::as_bytes(std::span(values));
  }
};

// Row r has `columns` times the number at r.
std::vector<float> rows_of(const std::vector<float>& numbers, int64_t columns) {
  std::vector<float> values;
  for (const float number : numbers) values.insert(values.end(), static_cast<size_t>(columns), number);
  return values;
}

std::vector<float> up_to(int count) {
  std::vector<float> numbers(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0.0F);
  return numbers;
}

ModelConfig config_of(const char* architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.hidden_size = 3;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 6;
  // Two key heads of 2 dimensions, each with three value heads of 1.
  config.linear = {.key_heads = 2, .value_heads = 6, .key_dim = 2, .value_dim = 1, .kernel = 4, .layers = {true}};
  return config;
}

LayerTensor a_part(LayerPart part, Extent rows, Extent columns = Extent::none) {
  return {part, "", "", rows, columns, {}};
}

std::vector<float> read_all(const GgufPlacement& placed, int64_t rows, int64_t width) {
  std::vector<float> out(static_cast<size_t>(rows * width)), one(static_cast<size_t>(width));
  placed.read(0, rows, width, out.data());
  for (int64_t row = 0; row < rows; ++row) {  // and each by itself
    placed.read(row, 1, width, one.data());
    EXPECT_TRUE(std::equal(one.begin(), one.end(), out.begin() + row * width)) << row;
  }
  return out;
}

// llama.cpp converts q by reshape(heads, 2, 3, columns).swapaxes(1, 2): head 0's rows are 0, 3, 1, 4, 2, 5.
TEST(GgufPlacement, RowsThatRotateTogether) {
  const ModelConfig config = config_of("llama");
  const Stored q("blk.0.attn_q.weight", {12, 3}, rows_of({0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}, 3));
  const LayerTensor tensor = a_part(LayerPart::q, Extent::queries, Extent::hidden);
  const auto placed = gguf_placement(config, &tensor, q.view.shape, {q.view}, "f");
  EXPECT_FALSE(placed.is_plain());
  EXPECT_EQ(read_all(placed, 12, 3), rows_of(up_to(12), 3));
  // Qwen's lie as they are.
  const auto plain = gguf_placement(config_of("qwen2"), &tensor, q.view.shape, {q.view}, "f");
  EXPECT_TRUE(plain.is_plain());
  EXPECT_EQ(read_all(plain, 12, 3), q.values);
  EXPECT_EQ(placed.bytes(), 12 * 3 * 4);
}

// Of each key head q0 q1 k0 k1 v0 v1 v2 z0 z1 z2, which the converter sorts.
TEST(GgufPlacement, KindsThatBelongToAKeyHead) {
  const ModelConfig config = config_of("qwen3_next");
  const Stored qkv("blk.0.attn_qkv.weight", {14, 3}, rows_of({0, 1, 10, 11, 2, 3, 12, 13, 4, 5, 6, 14, 15, 16}, 3));
  const Stored z("blk.0.attn_gate.weight", {6, 3}, rows_of({7, 8, 9, 17, 18, 19}, 3));
  const LayerTensor tensor = a_part(LayerPart::linear_qkvz, Extent::linear_qkvz, Extent::hidden);
  const auto placed = gguf_placement(config, &tensor, {20, 3}, {qkv.view, z.view}, "f");
  EXPECT_EQ(read_all(placed, 20, 3), rows_of(up_to(20), 3));
  EXPECT_EQ(placed.bytes(), 20 * 3 * 4);
  const Stored whole("blk.0.ssm_in.weight", {20, 3}, rows_of(up_to(20), 3));
  EXPECT_TRUE(gguf_placement(config, &tensor, {20, 3}, {whole.view}, "f").is_plain());
}

// Value heads 0, 1, 2 belong to key head 0: the converter writes 0, 3, 1, 4, 2, 5.
TEST(GgufPlacement, ValueHeadsByTurns) {
  const ModelConfig config = config_of("qwen3_5_text");
  const std::vector<float> heads{0, 3, 1, 4, 2, 5}, channels{0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 9, 12, 10, 13};
  const Stored z("blk.0.attn_gate.weight", {6, 3}, rows_of(heads, 3));
  const Stored qkv("blk.0.attn_qkv.weight", {14, 3}, rows_of(channels, 3));
  const Stored conv("blk.0.ssm_conv1d.weight", {14, 4}, rows_of(channels, 4));
  const Stored dt("blk.0.ssm_dt.bias", {6}, heads);
  const Stored out("blk.0.ssm_out.weight", {3, 6}, {0, 3, 1, 4, 2, 5, 10, 13, 11, 14, 12, 15, 20, 23, 21, 24, 22, 25});
  const auto read = [&](const Stored& stored, LayerPart part, Extent rows, Extent columns = Extent::none) {
    const LayerTensor tensor = a_part(part, rows, columns);
    const auto& shape = stored.view.shape;
    return read_all(gguf_placement(config, &tensor, shape, {stored.view}, "f"), shape[0],
                    std::ssize(stored.values) / shape[0]);
  };
  EXPECT_EQ(read(z, LayerPart::linear_z, Extent::linear_values), rows_of(up_to(6), 3));
  EXPECT_EQ(read(qkv, LayerPart::linear_qkv, Extent::linear_channels), rows_of(up_to(14), 3));
  EXPECT_EQ(read(conv, LayerPart::linear_conv, Extent::linear_channels), rows_of(up_to(14), 4));
  EXPECT_EQ(read(dt, LayerPart::linear_dt_bias, Extent::linear_heads), up_to(6));
  EXPECT_THAT(read(out, LayerPart::linear_o, Extent::hidden, Extent::linear_values),
              ElementsAre(0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25));
}

TEST(GgufPlacement, NumbersThatTheConverterComputes) {
  const LayerTensor norm = a_part(LayerPart::input_norm, Extent::hidden);
  const Stored one("blk.0.attn_norm.weight", {3}, {1.5F, 0.75F, 2});
  EXPECT_THAT(read_all(gguf_placement(config_of("qwen3_5_text"), &norm, {3}, {one.view}, "f"), 3, 1),
              ElementsAre(0.5F, -0.25F, 1));
  EXPECT_THAT(read_all(gguf_placement(config_of("llama"), &norm, {3}, {one.view}, "f"), 3, 1),
              ElementsAreArray(one.values));
  // The norm of the heads stays.
  const LayerTensor heads = a_part(LayerPart::linear_norm, Extent::linear_head_dim);
  const Stored head("blk.0.ssm_norm.weight", {1}, {1.5F});
  EXPECT_THAT(read_all(gguf_placement(config_of("qwen3_5_text"), &heads, {1}, {head.view}, "f"), 1, 1),
              ElementsAre(1.5F));

  const LayerTensor rates = a_part(LayerPart::linear_a_log, Extent::linear_heads);
  std::vector<float> logs{-3, -0.5F, 0, 0.125F, 1, 2.5F}, stored;
  for (const float x : logs) stored.push_back(-std::exp(x));
  const Stored a("blk.0.ssm_a", {6}, stored);
  EXPECT_THAT(read_all(gguf_placement(config_of("qwen3_next"), &rates, {6}, {a.view}, "f"), 6, 1),
              Pointwise(testing::FloatNear(3e-7F), logs));
  const Stored bad("blk.0.ssm_a", {6}, {1, -1, -1, -1, -1, -1});
  float first = 0;
  gguf_placement(config_of("qwen3_next"), &rates, {6}, {bad.view}, "f").read(0, 1, 1, &first);
  EXPECT_TRUE(std::isnan(first));
}

TEST(GgufPlacement, OrdersHaveAnInverse) {
  EXPECT_THAT(inverse_order({}), ElementsAre());
  EXPECT_THAT(inverse_order({2, 0, 3, 1}), ElementsAre(1, 3, 0, 2));
  const LayerTensor tensor = a_part(LayerPart::q, Extent::queries, Extent::hidden);
  const auto order = gguf_order(config_of("llama"), &tensor, "blk.0.attn_q.weight", true);
  // The file's second row is HF's fourth.
  EXPECT_THAT(inverse_order(order.rows), ElementsAre(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11));
}

TEST(GgufPlacement, NumbersAndShapesGoBothWays) {
  for (const auto values : {GgufOrder::same, GgufOrder::plus_one, GgufOrder::minus_exp}) {
    std::vector<float> numbers{0.25F, -0.5F, 2};
    to_gguf_values(values, numbers);
    if (values == GgufOrder::plus_one) {
      EXPECT_THAT(numbers, ElementsAre(1.25F, 0.5F, 3));
    } else if (values == GgufOrder::minus_exp) {
      EXPECT_LT(numbers[0], -1);
    }
    from_gguf_values(values, numbers);
    EXPECT_THAT(numbers, ElementsAre(FloatEq(0.25F), FloatEq(-0.5F), FloatEq(2)));
  }
  const LayerTensor gate = a_part(LayerPart::shared_gate, Extent::one),
                    conv = a_part(LayerPart::linear_conv, Extent::one);
  EXPECT_THAT(shape_in_gguf(&gate, {1, 3}), ElementsAre(3));
  EXPECT_THAT(shape_from_gguf(&gate, {3}), ElementsAre(1, 3));
  EXPECT_THAT(shape_in_gguf(&conv, {5, 1, 4}), ElementsAre(5, 4));
  EXPECT_THAT(shape_from_gguf(&conv, {5, 4}), ElementsAre(5, 1, 4));
  EXPECT_THAT(shape_in_gguf(nullptr, {1, 3}), ElementsAre(1, 3));
}

TEST(GgufPlacement, RefusesOtherNumbersOfRows) {
  const auto refused = [](const char* architecture, LayerPart part, Extent rows, Extent columns,
                          std::vector<int64_t> shape, const std::string& message) {
    const LayerTensor tensor = a_part(part, rows, columns);
    TensorView view;
    view.name = "x";
    view.shape = shape;
    expect_error(ErrorCode::invalid_file, message,
                 [&] { gguf_placement(config_of(architecture), &tensor, shape, {view}, "f"); });
  };
  refused("llama", LayerPart::q, Extent::queries, Extent::hidden, {13, 3},
          "tensor 'x' has 13 rows; expected 2 heads of 6 rows, an even number");
  refused("qwen3_5_text", LayerPart::linear_z, Extent::linear_values, Extent::hidden, {7, 3},
          "tensor 'x' has 7 rows; expected 6 by the metadata");
  refused("qwen3_5_text", LayerPart::linear_o, Extent::hidden, Extent::linear_values, {3, 7},
          "tensor 'x' has rows of [7]; expected [6] by the metadata");
  refused("qwen3_5_text", LayerPart::linear_o, Extent::hidden, Extent::linear_values, {3, 2, 6},
          "tensor 'x' has rows of [2, 6]; expected [6] by the metadata");
  refused("qwen3_5_text", LayerPart::linear_o, Extent::hidden, Extent::linear_values, {3},
          "tensor 'x' has rows of []; expected [6] by the metadata");
}

}  // namespace
}  // namespace mxq
