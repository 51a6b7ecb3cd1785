// Gradients against slopes of the forward pass, on two-layer models of every architecture.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "model/runner/cpu/cpu_runner.h"
#include "model/tiny_model.h"
#include "random_floats.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

constexpr unsigned kSeed = 5;

class LayerGradients : public testing::TestWithParam<std::string> {
 protected:
  LayerGradients() {
    TinyModel(GetParam()).write(folder_.path());
    model_ = open_model(folder_.path());
    runner_ = std::make_unique<CpuRunner>(*model_, RunOptions{});
  }

  /// Text of two sequences.
  void say(size_t first, size_t second) {
    const auto known = reference_ids();
    for (size_t i = 0; i < first + second; ++i) ids_.push_back(known[(i * i + i / 7) % known.size()]);
    sequences_ = {{std::span(ids_).first(first)}, {std::span(ids_).subspan(first)}};
  }

  Values random(size_t n) { return normal_floats(random_, static_cast<int64_t>(n)); }

  /// sum(outer * output of the layer).
  double value(int64_t layer, Values residual, const Values& outer) {
    runner_->run_layers(sequences_, layer, layer + 1, residual);
    double sum = 0;
    for (size_t i = 0; i < residual.size(); ++i) sum += double{residual[i]} * outer[i];
    return sum;
  }

  static Values moved(Values x, double step, const Values& direction) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += static_cast<float>(step) * direction[i];
    return x;
  }

  /// Which tokens go to which expert of a layer; nothing where it has none.
  std::vector<std::vector<int32_t>> routing(int64_t layer, const Values& residual) {
    std::vector<std::vector<int32_t>> tokens;
    const auto look = [&](const LayerRows& rows) {
      if (!runner_->config().has_experts(layer)) return;
      for (int64_t e = 0; e < runner_->config().mixture.experts; ++e) {
        const auto of = rows({LayerInput::routed, e}).tokens;
        tokens.emplace_back(of.begin(), of.end());
      }
    };
    runner_->run_back(sequences_, layer, residual, {}, look, {});
    return tokens;
  }

  static constexpr double h = 4e-3;

  /// The slope of at(step) by differences of two widths, whose error is of the fourth order, is gradient * direction.
  template <typename At>
  static void expect_slope(const Values& gradient, const Values& direction, At at) {
    const auto difference = [&](double step) { return (at(step) - at(-step)) / (2 * step); };
    double expected = 0, square = 0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      expected += double{gradient[i]} * direction[i];
      square += double{gradient[i]} * gradient[i];
    }
    // What a random direction may be expected to give.
    const double usual = std::sqrt(square);
    EXPECT_GT(usual, 0);
    EXPECT_NEAR(expected, (4 * difference(h) - difference(2 * h)) / 3, 3e-3 * usual);
  }

  static std::string matrix_name(int64_t layer, std::string_view module) {
    return "model.layers." + std::to_string(layer) + "." + std::string(module);
  }

  void expect_slopes();

  TemporaryFolder folder_;
  std::unique_ptr<ModelSource> model_;
  std::unique_ptr<Runner> runner_;
  std::vector<int32_t> ids_;
  std::vector<Sequence> sequences_;
  std::mt19937 random_{kSeed};
};

/// Of all layers and modules.
void LayerGradients::expect_slopes() {
  const size_t tokens = ids_.size();
  auto residual = runner_->embed(sequences_);
  for (int64_t layer = 0; layer < runner_->layers(); ++layer) {
    SCOPED_TRACE(testing::Message() << "layer " << layer << ", seed " << kSeed);
    const Values before = residual, outer = random(before.size());
    runner_->run_layers(sequences_, layer, layer + 1, residual);

    std::vector<Values> gradients{outer};
    std::map<std::string, Values> inputs;  // by module
    size_t matrices = 0;
    const auto look = [&](const LayerRows& rows) {
      for (const NamedTensor& tensor : layer_tensors(runner_->config(), layer)) {
        // Routers are not replaced.
        if (!tensor.is_matrix() || !runner_->find_matrix(matrix_name(layer, tensor.hf))) continue;
        const auto [values, of_tokens] = rows(tensor.input());
        inputs[tensor.hf].assign(values.begin(), values.end());
        const auto in = static_cast<size_t>(runner_->find_matrix(matrix_name(layer, tensor.hf))->in);
        ASSERT_EQ(values.size(), (of_tokens.empty() && !tensor.tensor->of_expert() ? tokens : of_tokens.size()) * in);
        matrices += values.empty() ? 0 : 1;
      }
    };
    std::map<std::string, Values> of_module;
    runner_->run_back(sequences_, layer, before, gradients, look, [&](std::string_view module, const float* values) {
      const auto shape = runner_->find_matrix(matrix_name(layer, module)).value();
      const int64_t rows = std::ssize(inputs.at(std::string(module))) / shape.in;
      of_module[std::string(module)].assign(values, values + rows * shape.out);
    });
    const Values& gradient = gradients[0];
    ASSERT_GE(matrices, 4u);
    ASSERT_EQ(of_module.size(), matrices);

    // Where a token changes its experts, a difference is no slope: such a direction is drawn anew.
    const auto routed = routing(layer, before);
    const auto stays = [&](const Values& direction, double width) {
      return routed.empty() || (routing(layer, moved(before, width, direction)) == routed &&
                                routing(layer, moved(before, -width, direction)) == routed);
    };
    Values direction = random(before.size());
    for (int draw = 0; draw < 200 && !stays(direction, 2 * h); ++draw) direction = random(before.size());
    ASSERT_TRUE(stays(direction, 2 * h) && stays(direction, h));
    expect_slope(gradient, direction, [&](double step) { return value(layer, moved(before, step, direction), outer); });

    for (const auto& [module, of_outputs] : of_module) {
      SCOPED_TRACE(module);
      const std::string name = matrix_name(layer, module);
      const auto shape = runner_->find_matrix(name).value();
      const auto out = static_cast<size_t>(shape.out), in = static_cast<size_t>(shape.in);
      const Values& input = inputs.at(module);
      Values of_weights(out * in);
      for (size_t t = 0; t < input.size() / in; ++t) {
        for (size_t o = 0; o < out; ++o) {
          for (size_t i = 0; i < in; ++i) {
            of_weights[o * in + i] += of_outputs[t * out + o] * input[t * in + i];
          }
        }
      }
      Values room;
      const auto weights = runner_->weights(name, room);
      const Values original(weights.begin(), weights.end());
      const auto keeps = [&](const Values& change) {
        if (routed.empty()) return true;
        for (const double step : {-2 * h, -h, h, 2 * h}) {
          const auto other = runner_->make_replacement(name, moved(original, step / 4, change));
          other->swap();
          const bool same = routing(layer, before) == routed;
          other->swap();
          if (!same) return false;
        }
        return true;
      };
      Values change = random(out * in);
      for (int draw = 0; draw < 200 && !keeps(change); ++draw) change = random(out * in);
      ASSERT_TRUE(keeps(change));
      expect_slope(of_weights, change, [&](double step) {
        const auto other = runner_->make_replacement(name, moved(original, step / 4, change));
        other->swap();
        const double sum = 4 * value(layer, before, outer);
        other->swap();
        return sum;
      });
    }
  }
}

TEST_P(LayerGradients, AreSlopes) {
  // Longer than the windows of 7; of few tokens none changes its experts on the way.
  if (runner_->config().mixture.experts > 0) {
    say(9, 4);
  } else {
    say(23, 9);
  }
  expect_slopes();
}

// Attention goes back through 384 rows of queries at a time.
TEST_P(LayerGradients, OfManyBlocksAreSlopes) {
  const Mixture& mixture = runner_->config().mixture;
  if (mixture.per_token < mixture.experts) return;  // of so many tokens one always changes its experts
  say(401, 5);
  expect_slopes();
}

// Where an activation comes to its limit on the way, a difference is no slope; gated_slopes_test.cc has those.
std::vector<std::string> smooth_models() {
  auto names = model_names();
  std::erase(names, "gpt_oss_clamped");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, LayerGradients, testing::ValuesIn(smooth_models()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace mxq
