// The forward pass against logits and greedy tokens that transformers produced in fp32 (data/smollm2-reference).
#include "model/decoder/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "format/safetensors.h"
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

class RealModel : public testing::TestWithParam<Residence> {};

TEST_P(RealModel, LogitsEqualTransformers) {
  MXQ_NEEDS_SHARED_DATA("smollm2-reference");
  const char* path = std::getenv("MXQ_SMOLLM2_GGUF");
  if (path == nullptr || !std::filesystem::exists(path)) GTEST_SKIP() << "MXQ_SMOLLM2_GGUF names no file";
  const TensorStore reference = open_safetensors(shared_data("smollm2-reference/logits.safetensors"));
  const auto wide = integers(reference, "input_ids");
  const std::vector<int32_t> ids(wide.begin(), wide.end());
  const auto positions = integers(reference, "positions");
  const auto expected = values<float>(reference, "logits");

  const auto model = open_model(path);
  Decoder decoder(*model, GetParam());
  const auto hidden = decoder.hidden(ids);
  std::vector<float> logits(static_cast<size_t>(decoder.vocab_size()));
  double worst = 0;
  for (size_t i = 0; i < positions.size(); ++i) {
    decoder.logits(hidden.data() + positions[i] * decoder.hidden_size(), 1, logits.data());
    for (size_t j = 0; j < logits.size(); ++j) {
      worst = std::max(worst, std::abs(double{logits[j]} - expected[i * logits.size() + j]));
    }
  }
  std::printf("largest difference of a logit: %.2g\n", worst);
  EXPECT_LE(worst, 2e-3);
}

INSTANTIATE_TEST_SUITE_P(Residences, RealModel, testing::Values(Residence::floats, Residence::stored),
                         [](const auto& param) { return param.param == Residence::floats ? "floats" : "stored"; });

}  // namespace
}  // namespace mxq
