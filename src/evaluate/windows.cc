#include "evaluate/windows.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "mxq/error.h"

namespace mxq {

namespace {

[[noreturn]] void refuse(std::string given, std::string supported) {
  throw Error(ErrorCode::usage, "cut the text into windows", std::move(given), std::move(supported));
}

std::vector<int32_t> copy(std::span<const int32_t> ids, int64_t begin, int64_t end) {
  return {ids.begin() + begin, ids.begin() + end};
}

Windows hf_windows(std::span<const int32_t> ids, int64_t window, int64_t stride) {
  if (window < 2 || stride < 1 || stride > window) {
    refuse(fmt::format("windows of {} tokens, stride {}", window, stride),
           "windows of at least 2 tokens and a stride from 1 to the window");
  }
  const auto total = static_cast<int64_t>(ids.size());
  if (total < 2) refuse(fmt::format("a text of {} tokens", total), "at least 2 tokens");
  Windows result;
  int64_t previous_end = 0, counted = 0;
  for (int64_t begin = 0; previous_end < total; begin += stride) {
    const int64_t end = std::min(begin + window, total);
    const int64_t fresh = end - previous_end;  // tokens that no window before had
    // The first token of all has nothing before it to be predicted from.
    Window next{copy(ids, begin, end), std::max<int64_t>(0, previous_end - begin - 1), static_cast<double>(fresh)};
    previous_end = end;
    if (next.predictions() == 0) continue;  // a last token alone, where windows do not overlap
    counted += fresh;
    result.windows.push_back(std::move(next));
  }
  for (Window& each : result.windows) each.weight /= static_cast<double>(counted);
  result.tokens = previous_end;
  return result;
}

Windows llama_cpp_windows(std::span<const int32_t> ids, int64_t window, int32_t bos) {
  if (window < 4) refuse(fmt::format("windows of {} tokens", window), "at least 4 for llama.cpp's recipe");
  const auto total = static_cast<int64_t>(ids.size()), count = total / window;
  if (count == 0) refuse(fmt::format("a text of {} tokens", total), fmt::format("at least one window of {}", window));
  Windows result;
  for (int64_t i = 0; i < count; ++i) {
    Window next{copy(ids, i * window, (i + 1) * window), window / 2, 1 / static_cast<double>(count)};
    if (bos >= 0) next.ids.front() = bos;
    result.tokens += next.predictions();
    result.windows.push_back(std::move(next));
  }
  return result;
}

}  // namespace

int64_t window_of(const PerplexityOptions& options) {
  if (options.window != 0) return options.window;
  return options.recipe == Recipe::hf ? 1024 : 512;
}

Windows cut_windows(std::span<const int32_t> ids, const PerplexityOptions& options, int32_t bos) {
  if (options.max_tokens > 0) ids = ids.first(std::min(ids.size(), static_cast<size_t>(options.max_tokens)));
  const int64_t window = window_of(options);
  if (options.recipe == Recipe::llama_cpp) {
    if (options.stride != 0) refuse(fmt::format("stride {}", options.stride), "none with llama.cpp's recipe");
    return llama_cpp_windows(ids, window, bos);
  }
  return hf_windows(ids, window, options.stride != 0 ? options.stride : window / 2);
}

Windows whole_sequences(std::vector<std::vector<int32_t>> sequences) {
  Windows result;
  for (auto& ids : sequences) {
    result.windows.push_back({std::move(ids)});
    result.tokens += result.windows.back().predictions();
  }
  for (Window& each : result.windows) {
    each.weight = static_cast<double>(each.predictions()) / static_cast<double>(result.tokens);
  }
  return result;
}

}  // namespace mxq
