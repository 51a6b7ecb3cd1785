// The forward pass against logits and greedy tokens that transformers produced in fp32 (data/smollm2-reference).
#include "model/runner/cpu/cpu_runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "format/safetensors.h"
#include "mxq/files.h"
#include "shared_data.h"

namespace mxq {
namespace {

template <typename Value>
std::vector<Value> values(const TensorStore& store, const std::string& name) {
  const auto bytes = store.find(name)->bytes;
  std::vector<Value> out(bytes.size() / sizeof(Value));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::vector<int64_t> integers(const TensorStore& store, const std::string& name) {
  if (store.find(name)->dtype == DType::i64) return values<int64_t>(store, name);
  const auto narrow = values<int32_t>(store, name);
  return {narrow.begin(), narrow.end()};
}

class RealModel : public testing::TestWithParam<RunOptions> {
 protected:
  void SetUp() override {
    MXQ_NEEDS_SHARED_DATA("smollm2-reference");
    const char* path = std::getenv("MXQ_SMOLLM2_GGUF");
    if (path == nullptr || !std::filesystem::exists(path)) GTEST_SKIP() << "MXQ_SMOLLM2_GGUF names no file";
    if (GetParam().compute == Compute::bf16 && !bf16_matmul_supported()) GTEST_SKIP() << "no AVX-512";
    model_ = open_model(path);
  }

  std::unique_ptr<ModelSource> model_;
};

std::vector<float> logits_of(const Runner& runner, const float* hidden) {
  std::vector<float> logits(static_cast<size_t>(runner.vocab_size()));
  runner.logits(hidden, 1, logits.data());
  return logits;
}

double largest_difference(const std::vector<float>& a, const float* b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double{a[i]} - b[i]));
  return worst;
}

TEST_P(RealModel, LogitsEqualTransformers) {
  const TensorStore reference = open_safetensors(shared_data("smollm2-reference/logits.safetensors"));
  const auto wide = integers(reference, "input_ids");
  const std::vector<int32_t> ids(wide.begin(), wide.end());
  const auto positions = integers(reference, "positions");
  const auto expected = values<float>(reference, "logits");

  CpuRunner runner(*model_, GetParam());
  const auto hidden = runner.hidden(ids);
  double worst = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    const auto logits = logits_of(runner, hidden.data() + positions[i] * runner.hidden_size());
    worst = std::max(worst, largest_difference(logits, expected.data() + i * logits.size()));
  }
  std::printf("largest difference of a logit: %.2g\n", worst);
  // bf16 keeps 8 bits of a logit of 20 or so.
  EXPECT_LE(worst, GetParam().compute == Compute::f32 ? 2e-3 : 1);
}

TEST_P(RealModel, GreedyTokensEqualTransformers) {
  const auto reference = nlohmann::json::parse(read_file(shared_data("smollm2-reference/reference.json")));
  std::vector<int32_t> next = reference["greedy_after_ids"], found;
  CpuRunner runner(*model_, GetParam());
  const auto cache = runner.make_cache();
  for (int i = 0; i < 32; ++i) {
    const Sequence sequence{next, cache.get()};
    const auto hidden = runner.hidden(std::span(&sequence, 1));
    const auto logits = logits_of(runner, hidden.data() + hidden.size() - static_cast<size_t>(runner.hidden_size()));
    next = {static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
    found.push_back(next[0]);
  }
  if (GetParam().compute == Compute::bf16) found.resize(4);  // rounding may choose another word sooner or later
  const std::vector<int32_t> expected = reference["greedy_next_32"];
  EXPECT_EQ(found, std::vector<int32_t>(expected.begin(), expected.begin() + static_cast<int64_t>(found.size())));
}

// A sequence in pieces, alone or beside others, gives what it gives at once.
TEST_P(RealModel, CacheAndBatchChangeNothing) {
  const std::string bytes = read_file(shared_data("smollm2-reference/wikitext2-test-joined.i32"));
  std::vector<int32_t> ids(200);
  std::memcpy(ids.data(), bytes.data(), ids.size() * sizeof(int32_t));
  const std::span<const int32_t> all(ids);
  CpuRunner runner(*model_, GetParam());
  const auto whole = runner.hidden(all);
  const auto width = static_cast<size_t>(runner.hidden_size());

  const auto first = runner.make_cache(), second = runner.make_cache();
  const std::vector<Sequence> start{{all.first(100), first.get()}, {all.first(7), second.get()}, {all}};
  const auto a = runner.hidden(start);
  ASSERT_EQ(a.size(), (100 + 7 + 200) * width);
  const std::vector<Sequence> rest{{all.subspan(7, 150), second.get()}, {all.subspan(100, 1), first.get()}};
  const auto b = runner.hidden(rest);
  EXPECT_EQ(first->length(), 101);
  EXPECT_EQ(second->length(), 157);
  const double tolerance = GetParam().compute == Compute::f32 ? 1e-3 : 0.5;
  const auto expect_rows = [&](const std::vector<float>& found, size_t row, size_t count, size_t expected_row) {
    const std::vector<float> rows(found.begin() + static_cast<int64_t>(row * width),
                                  found.begin() + static_cast<int64_t>((row + count) * width));
    EXPECT_LE(largest_difference(rows, whole.data() + expected_row * width), tolerance);
  };
  expect_rows(a, 0, 100, 0);
  expect_rows(a, 100, 7, 0);
  expect_rows(a, 107, 200, 0);
  expect_rows(b, 0, 150, 7);
  expect_rows(b, 150, 1, 100);
}

INSTANTIATE_TEST_SUITE_P(Options, RealModel,
                         testing::Values(RunOptions{Compute::f32, false}, RunOptions{Compute::f32, true},
                                         RunOptions{Compute::bf16, false}, RunOptions{Compute::bf16, true}),
                         [](const auto& param) {
                           return std::string(param.param.compute == Compute::f32 ? "f32" : "bf16") +
                                  (param.param.packed ? "_packed" : "_resident");
                         });

}  // namespace
}  // namespace mxq
