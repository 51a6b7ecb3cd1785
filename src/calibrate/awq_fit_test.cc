// Folded models compute what the original does, and their matrices what the fold makes of them.
#include "calibrate/awq_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "evaluate/real_model.h"
#include "expect_error.h"
#include "model/tiny_model.h"
#include "temporary_folder.h"

namespace mxq {
namespace {

const QuantizeOptions kOptions{Fit::awq, 1, Metadata::q8};

std::unordered_map<std::string, Scheme> all_matrices(const ModelSource& model, const Scheme& scheme) {
  std::unordered_map<std::string, Scheme> schemes;
  for (const SourceTensor& tensor : model.tensors()) {
    if (tensor.matrix && tensor.matrix->in_layer()) schemes.emplace(tensor.name, scheme);
  }
  return schemes;
}

/// Of the logits of some tokens, in the largest one.
double logit_difference(const ModelSource& a, const ModelSource& b, std::span<const int32_t> ids) {
  std::vector<float> logits[2];
  for (int i = 0; i < 2; ++i) {
    const auto runner = make_runner(i == 0 ? a : b);
    const auto hidden = runner->hidden(ids);
    const auto n = static_cast<int64_t>(ids.size());
    logits[i].resize(static_cast<size_t>(n * runner->vocab_size()));
    runner->logits(hidden.data(), n, logits[i].data());
  }
  double worst = 0;
  for (size_t i = 0; i < logits[0].size(); ++i) {
    worst = std::max(worst, std::fabs(double{logits[0][i]} - logits[1][i]));
  }
  return worst;
}

class AwqFolds : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Models, AwqFolds, testing::ValuesIn(model_names()),
                         [](const auto& param) { return param.param; });

TEST_P(AwqFolds, LeaveLogitsAsTheyAre) {
  TemporaryFolder folder;
  TinyModel(GetParam()).write(folder.path());
  const auto model = open_model(folder.path());
  const auto ids = reference_ids();
  const auto runner = make_runner(*model);
  const AwqFit fit = fit_awq(*model, *runner, {ids}, all_matrices(*model, {3, 32}), kOptions);
  double largest = 1;  // that anything is folded at all
  for (const auto& [name, fold] : fit.folds) {
    for (const float s : fold.cols) largest = std::max(largest, double{s});
  }
  EXPECT_GT(largest, 1.05);
  const bool grouped = model->config()->num_key_value_heads != model->config()->num_attention_heads;
  EXPECT_EQ(fit.folds.contains("model.layers.0.self_attn.o_proj.weight"), !grouped);
  const FoldedSource folded(*model, fit.folds);
  EXPECT_LE(logit_difference(*model, folded, ids), 2e-4) << "of logits up to 12";
  EXPECT_EQ(fit.matrices.size(), all_matrices(*model, {3, 32}).size());
}

class AwqOfSmolLM2 : public RealModel {};

TEST_F(AwqOfSmolLM2, FoldsLeaveLogitsAsTheyAre) {
  const std::vector<int32_t> text(first(512).begin(), first(512).end());
  const auto runner = make_runner(*model_);
  auto schemes = all_matrices(*model_, {3, 128});
  std::erase_if(schemes, [](const auto& entry) {  // three layers of thirty
    const std::string layer = parse_matrix_name(entry.first)->layer;
    return layer != "0" && layer != "15" && layer != "29";
  });
  const AwqFit fit = fit_awq(*model_, *runner, {text}, schemes, kOptions);
  EXPECT_EQ(fit.folds.size(), 3u * 8) << "two norms, q, k, v, gate, up, down; heads are grouped";
  const FoldedSource folded(*model_, fit.folds);
  EXPECT_LE(logit_difference(*model_, folded, first(64)), 1e-4);
}

TEST(FoldedSource, MultipliesRowsAndColumnsAndNothingElse) {
  TemporaryFolder folder;
  TinyModel("llama2").write(folder.path());
  const auto model = open_model(folder.path());
  const std::string name = "model.layers.1.mlp.up_proj.weight", norm = "model.norm.weight";
  const SourceTensor& up = *model->find(name);
  Fold fold{std::vector<float>(static_cast<size_t>(up.rows())), std::vector<float>(static_cast<size_t>(up.cols()))};
  for (size_t i = 0; i < fold.rows.size(); ++i) fold.rows[i] = 1 + 0.5f * static_cast<float>(i % 3);
  for (size_t i = 0; i < fold.cols.size(); ++i) fold.cols[i] = 2 - 0.25f * static_cast<float>(i % 5);
  const FoldedSource folded(*model, {{name, fold}});
  for (const SourceTensor& tensor : folded.tensors()) {
    const SourceTensor& original = *model->find(tensor.name);
    EXPECT_EQ(tensor.shape, original.shape);
    std::vector<float> a(static_cast<size_t>(original.elements())), b(a.size());
    model->read(original, a.data());
    folded.read(tensor, b.data());
    if (tensor.name == name) {
      for (size_t i = 0; i < a.size(); ++i) {
        const auto cols = static_cast<size_t>(up.cols());
        ASSERT_FLOAT_EQ(b[i], a[i] * fold.rows[i / cols] * fold.cols[i % cols]);
      }
      EXPECT_FALSE(folded.plain_bytes(tensor));
      // A range of rows has its own factors.
      std::vector<float> one(static_cast<size_t>(up.cols()));
      folded.read_rows(tensor, 2, 1, one.data());
      EXPECT_TRUE(std::equal(one.begin(), one.end(), b.begin() + 2 * up.cols()));
    } else {
      EXPECT_EQ(a, b) << tensor.name;
    }
  }
  ContentHash plain, changed;
  model->hash(up, plain);
  folded.hash(*folded.find(name), changed);
  EXPECT_NE(plain.hex(), changed.hex());
  expect_error(ErrorCode::usage, "no tensor 'x'", [&] { FoldedSource(*model, {{"x", {}}}); });
  expect_error(ErrorCode::usage, "1 x 0 factors for 'model.norm.weight'", [&] {
    FoldedSource(*model, {{norm, {{1}, {}}}});
  });
}

}  // namespace
}  // namespace mxq
