// Inputs layer by layer against those of a runner whose matrices were replaced beforehand.
#include "calibrate/layer_inputs.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include <gmock/gmock.h>

#include "evaluate/real_model.h"
#include "expect_error.h"
#include "model/tiny_model.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

using LayerInputsOfSmolLM2 = RealModel;

/// All inputs' moments of the first `layers` layers.
std::map<std::pair<int64_t, LayerInput>, std::vector<float>> gather(
    LayerInputs& inputs, int64_t layers, const std::function<void(LayerInput)>& before = {}) {
  std::map<std::pair<int64_t, LayerInput>, std::vector<float>> all;
  for (int64_t layer = 0; layer < layers; ++layer) {
    inputs.next([&](const InputPlace& place, const SecondMoments& moments) {
      all[{layer, place.input}] = moments.values;
      if (before && layer == 0) before(place.input);
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
  const auto replace = [&](Runner& runner) { runner.make_replacement(name, weights)->swap(); };
  const RunOptions packed{Compute::f32, true};
  const auto plain = make_runner(*model_, packed), replaced = make_runner(*model_, packed),
             replacing = make_runner(*model_, packed);
  replace(*replaced);
  LayerInputs of_plain(*plain, sequences), of_replaced(*replaced, sequences), of_replacing(*replacing, sequences);
  const auto a = gather(of_plain, 2), b = gather(of_replaced, 2);
  const auto c = gather(of_replacing, 2, [&](LayerInput input) {
    if (input == LayerInput::feed_forward) replace(*replacing);
  });
  EXPECT_EQ(a.size(), 2u * 4);
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
  inputs.next([](const InputPlace&, const SecondMoments&) {});
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
    inputs.next([&](const InputPlace&, const SecondMoments&) { ++seen; });
  }
  EXPECT_EQ(seen, 30 * 4);
  expect_error(ErrorCode::usage, "a layer behind the last",
               [&] { inputs.next([](const InputPlace&, const SecondMoments&) {}); });
}

/// Heads are linear in the values: with nine tenths of v_proj they put out nine tenths of what the model has.
TEST(LayerInputsBesideTheModel, HaveWhatIsBetweenBothRuns) {
  const TemporaryFolder folder;
  TinyModel("llama3").write(folder.path());
  const auto model = open_model(folder.path());
  const auto runner = make_runner(*model);
  const std::vector<std::vector<int32_t>> text{reference_ids()};
  LayerInputs inputs(*runner, text, {}, true);
  const std::string name = "model.layers.0.self_attn.v_proj";
  const SourceTensor& tensor = *model->find(name + ".weight");
  std::vector<float> weights(static_cast<size_t>(tensor.elements()));
  model->read(tensor, weights.data());
  for (float& w : weights) w *= 0.9f;
  const auto replacement = runner->make_replacement(name, weights);
  std::optional<During> during;
  int seen = 0;
  const auto look = [&](const InputPlace& place, const SecondMoments& moments) {
    const int64_t n = moments.width;
    ASSERT_EQ(std::ssize(moments.cross), n * n);
    const float share = place.input == LayerInput::heads ? 0.9f : 1.0f;
    double largest = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, double{moments.values[i * n + i]});
    if (place.input != LayerInput::attention && place.input != LayerInput::heads) return;  // what follows differs
    ++seen;
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = i; j < n; ++j) {
        ASSERT_NEAR(share * moments.cross[i * n + j], moments.values[i * n + j], 1e-4 * largest);
        ASSERT_NEAR(share * moments.cross[j * n + i], moments.values[i * n + j], 1e-4 * largest);
      }
    }
    if (place.input == LayerInput::attention) during.emplace(*replacement);
  };
  inputs.next(look);
  EXPECT_EQ(seen, 2);
}

TEST(ShrunkMoments, MixAsManyPartsAsRowsAreMissing) {
  const SecondMoments own{4, 1, std::vector<float>(16, 8), {8, 8, 8, 8}, {}};
  const SecondMoments all{4, 100, std::vector<float>(16, 4), {4, 4, 4, 4}, {}};
  EXPECT_EQ(shrunk(own, all).values, std::vector<float>(16, 5));
  EXPECT_EQ(shrunk(own, all).mean_magnitudes, std::vector<float>(4, 5));
  EXPECT_EQ(shrunk({4, 0, std::vector<float>(16), std::vector<float>(4), {}}, all).values, all.values);
  EXPECT_EQ(shrunk({4, 4, own.values, own.mean_magnitudes, {}}, all).values, own.values);
}

// Of each expert by the rows that it is given, and of all.
TEST(LayerInputsOfAMixture, AreThoseOfTheTokensThatAnExpertIsGiven) {
  TemporaryFolder folder;
  TinyModel("mixtral").write(folder.path());
  const auto model = open_model(folder.path());
  const auto runner = make_runner(*model);
  const auto ids = reference_ids();
  const std::vector<Sequence> sequences{{ids}};
  std::map<InputPlace, std::vector<float>> rows;
  runner->run_back(sequences, 0, runner->embed(sequences), {},
                   [&](const LayerRows& of) {
                     for (const InputPlace& place : inputs_of(runner->config(), 0)) {
                       rows[place].assign(of(place).values.begin(), of(place).values.end());
                     }
                   },
                   {});
  ASSERT_EQ(rows.size(), 3u + 2 * 4);
  int64_t seen = 0, routed = 0;
  const std::vector<std::vector<int32_t>> texts{ids};
  LayerInputs inputs(*runner, texts);
  inputs.next([&](const InputPlace& place, const SecondMoments& moments) {
    const int64_t width = moments.width, n = std::ssize(rows.at(place)) / width;
    ++seen;
    EXPECT_EQ(moments.rows, n);
    routed += place.input == LayerInput::routed ? n : 0;
    // What is shrunk is mixed with the rows of all: of those that the experts could be given, or are.
    std::vector<float> all;
    for (const auto& [other, values] : rows) {
      const bool pool =
          place.input == LayerInput::routed ? other.input == LayerInput::feed_forward : other.input == place.input;
      if (pool) all.insert(all.end(), values.begin(), values.end());
    }
    const double own = std::min(1.0, static_cast<double>(n) / static_cast<double>(width));
    const auto mean = [&](const std::vector<float>& of, int64_t i, int64_t j) {
      double sum = 0;
      for (int64_t r = 0; r < std::ssize(of) / width; ++r) sum += double{of[r * width + i]} * of[r * width + j];
      return sum / std::max(1.0, static_cast<double>(std::ssize(of) / width));
    };
    const bool expert = place.input == LayerInput::routed || place.input == LayerInput::routed_gated;
    for (int64_t i = 0; i < width; i += 5) {
      const double plain = mean(rows.at(place), i, i + 1 < width ? i + 1 : i);
      const double pooled = mean(all, i, i + 1 < width ? i + 1 : i);
      const double expected = expert ? own * plain + (1 - own) * pooled : plain;
      EXPECT_NEAR(moments.values[static_cast<size_t>(i * width + std::min(i + 1, width - 1))], expected, 1e-4)
          << static_cast<int>(place.input) << ", " << place.expert << ", " << i;
    }
  });
  EXPECT_EQ(seen, 3 + 2 * 4);
  EXPECT_EQ(routed, 2 * std::ssize(ids));
  EXPECT_THAT(inputs.note(), testing::HasSubstr("of 4 experts saw fewer tokens"));
}

}  // namespace
}  // namespace mxq
