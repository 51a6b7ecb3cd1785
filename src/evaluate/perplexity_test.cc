// Perplexity by Hugging Face's recipe against figures that transformers produced (data/smollm2-reference).
#include "evaluate/perplexity.h"

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "expect_error.h"
#include "mxq/files.h"
#include "shared_data.h"

namespace mxq {
namespace {

class RealModel : public testing::Test {
 protected:
  void SetUp() override {
    MXQ_NEEDS_SHARED_DATA("smollm2-reference");
    const char* path = std::getenv("MXQ_SMOLLM2_GGUF");
    if (path == nullptr || !std::filesystem::exists(path)) GTEST_SKIP() << "MXQ_SMOLLM2_GGUF names no file";
    model_ = open_model(path);
    const std::string bytes = read_file(shared_data("smollm2-reference/wikitext2-test-joined.i32"));
    ids_.resize(bytes.size() / 4);
    std::memcpy(ids_.data(), bytes.data(), bytes.size());
  }

  std::unique_ptr<ModelSource> model_;
  std::vector<int32_t> ids_;
  Progress silent_;
};

TEST_F(RealModel, PerplexityEqualsTransformers) {
  const auto reference = nlohmann::json::parse(read_file(shared_data("smollm2-reference/reference.json")));
  const double expected = reference["hf_recipe_1024_512"]["windows_4"];
  Decoder decoder(*model_);
  const auto ids = std::span(ids_).first(1024 + 3 * 512);
  const Perplexity found = perplexity_of(decoder, ids, {}, silent_);
  EXPECT_EQ(found.windows, 4);
  EXPECT_EQ(found.tokens, 1024 + 3 * 512);
  EXPECT_NEAR(found.perplexity / expected, 1, 1e-4);
  std::printf("perplexity %.6f, transformers %.6f\n", found.perplexity, expected);
}

TEST_F(RealModel, WrongUseIsRefused) {
  Decoder decoder(*model_, {Compute::f32, true});
  const auto score = [&](std::span<const int32_t> ids, PerplexityOptions options) {
    return [this, &decoder, ids, options] { perplexity_of(decoder, ids, options, silent_); };
  };
  const auto ids = std::span<const int32_t>(ids_);
  expect_error(ErrorCode::usage, "a text of 1 tokens", score(ids.first(1), {}));
  expect_error(ErrorCode::usage, "a text of 0 tokens", score({}, {}));
  expect_error(ErrorCode::usage, "windows of 1 tokens", score(ids.first(9), {1, 1, 0, {}}));
  expect_error(ErrorCode::usage, "stride 5", score(ids.first(9), {4, 5, 0, {}}));
  const std::vector<int32_t> outside{1, 49152};
  expect_error(ErrorCode::usage, "token id 49152; 0 to 49151", score(outside, {}));
}

}  // namespace
}  // namespace mxq
