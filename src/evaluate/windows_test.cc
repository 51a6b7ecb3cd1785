// Windows against the loops that the recipes come from, written down plainly.
#include "evaluate/windows.h"

#include <map>
#include <numeric>
#include <random>

#include "expect_error.h"

namespace mxq {
namespace {

std::vector<int32_t> numbered(int64_t n) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  std::iota(ids.begin(), ids.end(), 100);
  return ids;
}

PerplexityOptions with(Recipe recipe, int64_t window, int64_t stride = 0, int64_t max_tokens = 0) {
  PerplexityOptions options;
  options.recipe = recipe;
  options.window = window;
  options.stride = stride;
  options.max_tokens = max_tokens;
  return options;
}

double total_weight(const Windows& windows) {
  double sum = 0;
  for (const Window& window : windows.windows) sum += window.weight;
  return sum;
}

TEST(Windows, HuggingFacesLoop) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t n = 2 + random() % 60, window = 2 + random() % 20, stride = 1 + random() % window;
    SCOPED_TRACE(testing::Message() << n << " tokens, window " << window << ", stride " << stride << ", seed 5");
    const auto ids = numbered(n);
    const Windows found = cut_windows(ids, with(Recipe::hf, window, stride), -1);
    // The documentation's: labels of tokens before prev_end are masked, and the loss shifts labels by one.
    size_t at = 0;
    std::map<int32_t, int> scored;
    for (int64_t begin = 0, previous_end = 0;; begin += stride) {
      const int64_t end = std::min(begin + window, n), labels = end - previous_end;
      const int64_t losses = std::min(labels, end - begin - 1);
      if (losses > 0) {
        ASSERT_LT(at, found.windows.size());
        const Window& each = found.windows[at++];
        EXPECT_EQ(each.ids.front(), 100 + begin);
        EXPECT_EQ(each.ids.size(), static_cast<size_t>(end - begin));
        EXPECT_EQ(each.predictions(), losses);
        EXPECT_NEAR(each.weight * static_cast<double>(n), static_cast<double>(labels), 1.0);
        for (size_t i = static_cast<size_t>(each.first) + 1; i < each.ids.size(); ++i) ++scored[each.ids[i]];
      }
      previous_end = end;
      if (end == n) break;
    }
    EXPECT_EQ(at, found.windows.size());
    EXPECT_EQ(found.tokens, n);
    EXPECT_NEAR(total_weight(found), 1, 1e-12);
    for (const auto& [id, times] : scored) EXPECT_EQ(times, 1) << id;
    if (stride < window) {
      EXPECT_EQ(scored.size(), static_cast<size_t>(n - 1));
    }
  }
}

TEST(Windows, LlamaCppScoresTheSecondHalfOfWholeWindows) {
  const Windows found = cut_windows(numbered(1600), with(Recipe::llama_cpp, 0), 7);
  ASSERT_EQ(found.windows.size(), 3u);  // of 512
  EXPECT_EQ(found.tokens, 3 * 255);
  for (size_t i = 0; i < 3; ++i) {
    const Window& window = found.windows[i];
    ASSERT_EQ(window.ids.size(), 512u);
    EXPECT_EQ(window.ids[0], 7);
    EXPECT_EQ(window.ids[1], static_cast<int32_t>(100 + 512 * i + 1));
    // Predictions 256 to 510, of tokens 257 to 511.
    EXPECT_EQ(window.first, 256);
    EXPECT_EQ(window.predictions(), 255);
    EXPECT_NEAR(window.weight, 1.0 / 3, 1e-15);
  }
  EXPECT_EQ(cut_windows(numbered(1600), with(Recipe::llama_cpp, 0), -1).windows[2].ids[0], 100 + 1024);
  EXPECT_EQ(cut_windows(numbered(1600), with(Recipe::llama_cpp, 0, 0, 1023), -1).windows.size(), 1u);
  EXPECT_EQ(cut_windows(numbered(9), with(Recipe::llama_cpp, 4), -1).windows[1].predictions(), 1);
}

TEST(Windows, SequencesCountInFull) {
  const Windows found = whole_sequences({numbered(4), numbered(2)});
  EXPECT_EQ(found.tokens, 4);
  EXPECT_EQ(found.windows[0].predictions(), 3);
  EXPECT_EQ(found.windows[1].predictions(), 1);
  EXPECT_EQ(found.windows[0].weight, 0.75);
}

TEST(Windows, WhatMakesNoSenseIsRefused) {
  const auto cut = [](int64_t n, PerplexityOptions options) { return [=] { cut_windows(numbered(n), options, -1); }; };
  expect_error(ErrorCode::usage, "a text of 1 tokens; expected at least 2 tokens", cut(1, {}));
  expect_error(ErrorCode::usage, "a text of 0 tokens", cut(0, {}));
  expect_error(ErrorCode::usage, "windows of 1 tokens", cut(9, with(Recipe::hf, 1)));
  expect_error(ErrorCode::usage, "windows of 4 tokens, stride 5", cut(9, with(Recipe::hf, 4, 5)));
  expect_error(ErrorCode::usage, "stride -1", cut(9, with(Recipe::hf, 4, -1)));
  expect_error(ErrorCode::usage, "a text of 511 tokens; expected at least one window of 512",
               cut(511, with(Recipe::llama_cpp, 0)));
  expect_error(ErrorCode::usage, "windows of 3 tokens", cut(9, with(Recipe::llama_cpp, 3)));
  expect_error(ErrorCode::usage, "stride 4; expected none with llama.cpp's recipe",
               cut(99, with(Recipe::llama_cpp, 8, 4)));
}

}  // namespace
}  // namespace mxq
