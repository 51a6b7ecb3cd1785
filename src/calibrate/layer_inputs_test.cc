// Second moments against sums in fp64, and layer by layer against a decoder whose matrices were replaced beforehand.
#include "calibrate/layer_inputs.h"

#include <cmath>
#include <map>
#include <random>
#include <utility>

#include "base/half.h"
#include "evaluate/real_model.h"
#include "expect_error.h"
#include "kernels/matmul.h"

namespace mxq {
namespace {

constexpr unsigned kSeed = 5;

TEST(SecondMoments, AreTheMeanOfProducts) {
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  for (const Compute compute : {Compute::f32, Compute::bf16}) {
    if (compute == Compute::bf16 && !bf16_matmul_supported()) continue;
    // One row; a block and a half of columns; more rows than are taken at a time.
    for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 7}, {33, 150}, {2100, 97}}) {
      std::vector<float> values(static_cast<size_t>(rows * width));
      for (float& x : values) x = normal(random);
      Operand operand(compute);
      operand.set(values.data(), rows, width);
      if (compute == Compute::bf16) {
        for (size_t i = 0; i < values.size(); ++i) values[i] = f32_from_bf16(operand.bf16()[i]);
      }
      const SecondMoments moments(operand);
      ASSERT_EQ(moments.width(), width);
      for (int64_t i = 0; i < width; ++i) {
        for (int64_t j = i; j < width; ++j) {
          double sum = 0;
          for (int64_t r = 0; r < rows; ++r) sum += double{values[r * width + i]} * values[r * width + j];
          ASSERT_NEAR(moments.values()[i * width + j], sum / static_cast<double>(rows), 1e-5)
              << rows << " x " << width << " at " << i << ", " << j << " seed " << kSeed;
        }
      }
    }
  }
}

using LayerInputsOfSmolLM2 = RealModel;

/// All inputs' moments of the first `layers` layers.
std::map<std::pair<int64_t, LayerInput>, std::vector<float>> gather(
    LayerInputs& inputs, int64_t layers, const std::function<void(LayerInput)>& before = {}) {
  std::map<std::pair<int64_t, LayerInput>, std::vector<float>> all;
  for (int64_t layer = 0; layer < layers; ++layer) {
    inputs.next([&](LayerInput input, const SecondMoments& moments) {
      all[{layer, input}] = {moments.values().begin(), moments.values().end()};
      if (before && layer == 0) before(input);
    });
  }
  return all;
}

TEST_F(LayerInputsOfSmolLM2, FollowMatricesThatAreReplacedOnTheWay) {
  const std::vector<std::vector<int32_t>> sequences{{ids_.begin(), ids_.begin() + 40},
                                                    {ids_.begin() + 100, ids_.begin() + 130}};
  const std::string name = "model.layers.0.mlp.gate_proj";
  const SourceTensor* tensor = model_->find(name + ".weight");
  std::vector<float> weights(static_cast<size_t>(tensor->elements()));
  model_->read(*tensor, weights.data());
  for (float& w : weights) w *= 0.5f;
  const auto replace = [&](Decoder& decoder) {
    Linear& matrix = *decoder.find_matrix(name);
    matrix = matrix.with_weights(weights.data());
  };
  const RunOptions packed{Compute::f32, true};
  Decoder plain(*model_, packed), replaced(*model_, packed), replacing(*model_, packed);
  replace(replaced);
  LayerInputs of_plain(plain, sequences), of_replaced(replaced, sequences), of_replacing(replacing, sequences);
  const auto a = gather(of_plain, 2), b = gather(of_replaced, 2);
  const auto c = gather(of_replacing, 2, [&](LayerInput input) {
    if (input == LayerInput::feed_forward) replace(replacing);
  });
  EXPECT_EQ(a.size(), 2u * kLayerInputs);
  EXPECT_EQ(b, c) << "replaced before the layer runs, or just before it is multiplied";
  for (const LayerInput input : {LayerInput::attention, LayerInput::heads, LayerInput::feed_forward}) {
    EXPECT_EQ(a.at({0, input}), b.at({0, input})) << "what comes before it does not change";
  }
  EXPECT_NE(a.at({0, LayerInput::gated}), b.at({0, LayerInput::gated}));
  EXPECT_NE(a.at({1, LayerInput::attention}), b.at({1, LayerInput::attention}));
  EXPECT_EQ(of_plain.layer(), 2);
}

TEST_F(LayerInputsOfSmolLM2, OfTheOutputMatrixAreTheLastHiddenStates) {
  const std::vector<std::vector<int32_t>> sequences{{ids_.begin(), ids_.begin() + 5},
                                                    {ids_.begin() + 100, ids_.begin() + 107}};
  Decoder decoder(*model_, {Compute::f32, true});
  LayerInputs inputs(decoder, sequences);
  inputs.next([](LayerInput, const SecondMoments&) {});
  const auto moments = inputs.head();
  EXPECT_EQ(inputs.layer(), decoder.layers());
  std::vector<float> hidden;
  for (const auto& ids : sequences) {
    const auto states = decoder.hidden(ids);
    hidden.insert(hidden.end(), states.begin(), states.end());
  }
  const int64_t width = decoder.hidden_size();
  ASSERT_EQ(moments.width(), width);
  for (int64_t i = 0; i < width; i += 13) {
    for (int64_t j = i; j < width; j += 29) {
      double sum = 0, size = 0;
      for (int64_t r = 0; r < 12; ++r) {
        const double product = double{hidden[r * width + i]} * hidden[r * width + j];
        sum += product / 12;
        size += std::abs(product) / 12;
      }
      ASSERT_NEAR(moments.values()[i * width + j], sum, 1e-4 * size) << i << ", " << j;
    }
  }
}

TEST_F(LayerInputsOfSmolLM2, EndWithTheLastLayer) {
  const std::vector<std::vector<int32_t>> sequences{{ids_.begin(), ids_.begin() + 3}};
  Decoder decoder(*model_, {Compute::f32, true});
  LayerInputs inputs(decoder, sequences);
  int64_t seen = 0;
  while (inputs.layer() < decoder.layers()) {
    inputs.next([&](LayerInput, const SecondMoments&) { ++seen; });
  }
  EXPECT_EQ(seen, 30 * kLayerInputs);
  expect_error(ErrorCode::usage, "a layer behind the last",
               [&] { inputs.next([](LayerInput, const SecondMoments&) {}); });
}

}  // namespace
}  // namespace mxq
