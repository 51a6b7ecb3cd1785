// Gradients against slopes of the forward pass, on two-layer models of every architecture.
#include "model/runner/cpu/layer_backward.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

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
    decoder_.emplace(*model_);
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
    decoder_->run_layers(sequences_, layer, layer + 1, residual);
    double sum = 0;
    for (size_t i = 0; i < residual.size(); ++i) sum += double{residual[i]} * outer[i];
    return sum;
  }

  static Values moved(Values x, double step, const Values& direction) {
    for (size_t i = 0; i < x.size(); ++i) x[i] += static_cast<float>(step) * direction[i];
    return x;
  }

  /// The slope of at(step) by differences of two widths, whose error is of the fourth order, is gradient * direction.
  template <typename At>
  static void expect_slope(const Values& gradient, const Values& direction, At at) {
    constexpr double h = 4e-3;
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

  void expect_slopes();

  TemporaryFolder folder_;
  std::unique_ptr<ModelSource> model_;
  std::optional<Decoder> decoder_;
  std::vector<int32_t> ids_;
  std::vector<Sequence> sequences_;
  std::mt19937 random_{kSeed};
};

/// Of all layers and modules.
void LayerGradients::expect_slopes() {
  const size_t tokens = ids_.size();
  auto residual = decoder_->embed(sequences_);
  for (int64_t layer = 0; layer < decoder_->layers(); ++layer) {
    SCOPED_TRACE(testing::Message() << "layer " << layer << ", seed " << kSeed);
    const Values before = residual, outer = random(before.size());
    LayerTape tape;
    decoder_->run_layer(sequences_, layer, residual, tape);
    auto again = before;
    decoder_->run_layers(sequences_, layer, layer + 1, again);
    ASSERT_EQ(residual, again);

    Values gradient = outer;
    std::map<std::string, Values> of_module;
    const LayerBackward backward(*decoder_, layer, sequences_, tape);
    backward.run(gradient, [&](std::string_view module, const float* values) {
      const Linear& matrix =
          *decoder_->find_matrix("model.layers." + std::to_string(layer) + "." + std::string(module));
      of_module[std::string(module)].assign(values, values + static_cast<int64_t>(tokens) * matrix.out_features());
    });
    ASSERT_EQ(of_module.size(), 7u);

    const Values direction = random(before.size());
    expect_slope(gradient, direction, [&](double step) { return value(layer, moved(before, step, direction), outer); });

    const std::map<std::string, const Values*> inputs{{"self_attn.q_proj", &tape.attention_input},
                                                      {"self_attn.k_proj", &tape.attention_input},
                                                      {"self_attn.v_proj", &tape.attention_input},
                                                      {"self_attn.o_proj", &tape.heads},
                                                      {"mlp.gate_proj", &tape.feed_forward_input},
                                                      {"mlp.up_proj", &tape.feed_forward_input},
                                                      {"mlp.down_proj", &tape.gated}};
    for (const auto& [module, input] : inputs) {
      SCOPED_TRACE(module);
      Linear& matrix = *decoder_->find_matrix("model.layers." + std::to_string(layer) + "." + module);
      const auto out = static_cast<size_t>(matrix.out_features()), in = static_cast<size_t>(matrix.in_features());
      ASSERT_EQ(input->size(), tokens * in);
      Values of_weights(out * in);
      for (size_t t = 0; t < tokens; ++t) {
        for (size_t o = 0; o < out; ++o) {
          for (size_t i = 0; i < in; ++i) {
            of_weights[o * in + i] += of_module.at(module)[t * out + o] * (*input)[t * in + i];
          }
        }
      }
      Values room;
      const Values original(matrix.floats(room), matrix.floats(room) + out * in), change = random(out * in);
      expect_slope(of_weights, change, [&](double step) {
        Linear other = matrix.with_weights(moved(original, step / 4, change).data());
        std::swap(matrix, other);
        const double sum = 4 * value(layer, before, outer);
        std::swap(matrix, other);
        return sum;
      });
    }
  }
}

TEST_P(LayerGradients, AreSlopes) {
  say(23, 9);  // longer than the windows of 7
  expect_slopes();
}

// Attention goes back through 384 rows of queries at a time.
TEST_P(LayerGradients, OfManyBlocksAreSlopes) {
  say(401, 5);
  expect_slopes();
}

INSTANTIATE_TEST_SUITE_P(Models, LayerGradients, testing::ValuesIn(model_names()),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace mxq
