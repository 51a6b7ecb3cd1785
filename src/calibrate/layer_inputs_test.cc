// Inputs layer by layer against those of a runner whose matrices were replaced beforehand.
#include "calibrate/layer_inputs.h"

#include <cmath>
#include <map>
#include <utility>

#include "evaluate/real_model.h"
#include "expect_error.h"

namespace mxq {
namespace {

using LayerInputsOfSmolLM2 = RealModel;

/// All inputs' moments of the first `layers` layers.
std::map<std::pair<int64_t, LayerInput>, std::vector<float>> gather(
    LayerInputs& inputs, int64_t layers, const std::function<void(LayerInput)>& before = {}) {
  std::map<std::pair<int64_t, LayerInput>, std::vector<float>> all;
  for (int64_t layer = 0; layer < layers; ++layer) {
    inputs.next([&](LayerInput input, const SecondMoments& moments) {
      all[{layer, input}] = moments.values;
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
  const auto replace = [&](Runner& runner) { runner.replace(name, weights); };
  const RunOptions packed{Compute::f32, true};
  const auto plain = make_runner(*model_, packed), replaced = make_runner(*model_, packed),
             replacing = make_runner(*model_, packed);
  replace(*replaced);
  LayerInputs of_plain(*plain, sequences), of_replaced(*replaced, sequences), of_replacing(*replacing, sequences);
  const auto a = gather(of_plain, 2), b = gather(of_replaced, 2);
  const auto c = gather(of_replacing, 2, [&](LayerInput input) {
    if (input == LayerInput::feed_forward) replace(*replacing);
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
  const auto runner = make_runner(*model_, {Compute::f32, true});
  LayerInputs inputs(*runner, sequences);
  inputs.next([](LayerInput, const SecondMoments&) {});
  const auto moments = inputs.head();
  EXPECT_EQ(inputs.layer(), runner->layers());
  std::vector<float> hidden;
  for (const auto& ids : sequences) {
    const auto states = runner->hidden(ids);
    hidden.insert(hidden.end(), states.begin(), states.end());
  }
  const int64_t width = runner->hidden_size();
  ASSERT_EQ(moments.width, width);
  for (int64_t i = 0; i < width; i += 13) {
    for (int64_t j = i; j < width; j += 29) {
      double sum = 0, size = 0;
      for (int64_t r = 0; r < 12; ++r) {
        const double product = double{hidden[r * width + i]} * hidden[r * width + j];
        sum += product / 12;
        size += std::abs(product) / 12;
      }
      ASSERT_NEAR(moments.values[i * width + j], sum, 1e-4 * size) << i << ", " << j;
    }
  }
}

TEST_F(LayerInputsOfSmolLM2, EndWithTheLastLayer) {
  const std::vector<std::vector<int32_t>> sequences{{ids_.begin(), ids_.begin() + 3}};
  const auto runner = make_runner(*model_, {Compute::f32, true});
  LayerInputs inputs(*runner, sequences);
  int64_t seen = 0;
  while (inputs.layer() < runner->layers()) {
    inputs.next([&](LayerInput, const SecondMoments&) { ++seen; });
  }
  EXPECT_EQ(seen, 30 * kLayerInputs);
  expect_error(ErrorCode::usage, "a layer behind the last",
               [&] { inputs.next([](LayerInput, const SecondMoments&) {}); });
}

}  // namespace
}  // namespace mxq
