// Generated text against transformers' greedy tokens.
#include "mxq/generate.h"

#include <algorithm>

#include "evaluate/real_model.h"
#include "model/runner/runner.h"
#include "mxq/tokenizer.h"

namespace mxq {
namespace {

using Generate = RealModel;

TEST_F(Generate, GreedyTokensOfTransformers) {
  const auto tokenizer = open_tokenizer(model_->path());
  const std::string prompt = tokenizer->decode(first(32));
  GenerateOptions options;
  options.max_tokens = 32;
  std::string streamed;
  const auto found = generate(
      model_->path(), prompt, options, [&](std::string_view text) { streamed += text; }, &silent_);
  EXPECT_EQ(found.prompt_tokens, 32);
  EXPECT_EQ(found.ids, reference_["greedy_next_32"].get<std::vector<int32_t>>());
  EXPECT_EQ(found.text, tokenizer->decode(found.ids));
  EXPECT_EQ(streamed, found.text);
  EXPECT_FALSE(found.ended);
}

// Long prompts are read piece by piece: as if at once.
TEST_F(Generate, LongPrompts) {
  const auto tokenizer = open_tokenizer(model_->path());
  const std::string prompt = tokenizer->decode(first(600));
  const auto ids = tokenizer->encode(prompt);
  const auto runner = make_runner(*model_);
  const auto hidden = runner->hidden(std::span<const int32_t>(ids));
  std::vector<float> logits(static_cast<size_t>(runner->vocab_size()));
  runner->logits(hidden.data() + hidden.size() - static_cast<size_t>(runner->hidden_size()), 1, logits.data());
  GenerateOptions options;
  options.max_tokens = 1;
  const auto found = generate(model_->path(), prompt, options, {}, &silent_);
  EXPECT_EQ(found.prompt_tokens, std::ssize(ids));
  EXPECT_EQ(found.ids[0], std::max_element(logits.begin(), logits.end()) - logits.begin());
}

TEST_F(Generate, StopsWhereTheModelEnds) {
  GenerateOptions options;
  options.run.packed = true;
  const auto found = generate(model_->path(), "<|im_start|>user\nSay only: yes<|im_end|>\n<|im_start|>assistant\n",
                              options, {}, &silent_);
  EXPECT_TRUE(found.ended);
  EXPECT_EQ(found.ids.back(), 2);  // <|im_end|>
  EXPECT_LT(found.ids.size(), 128u);
  EXPECT_EQ(found.text.find("<|im_end|>"), std::string::npos);
}

}  // namespace
}  // namespace mxq
