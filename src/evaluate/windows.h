// The windows that a text is cut into, and which of their tokens count.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mxq/evaluate.h"

namespace mxq {

/// Tokens that the model sees together. Prediction i is that of ids[i + 1] from ids[0..i]; those from `first` to the
/// last (ids.size() - 2) count, at least one.
struct Window {
  std::vector<int32_t> ids;
  int64_t first = 0;
  /// Of the mean loss of its predictions; the weights of all windows add up to 1.
  double weight = 1;

  int64_t predictions() const { return static_cast<int64_t>(ids.size()) - 1 - first; }
};

struct Windows {
  std::vector<Window> windows;
  int64_t tokens = 0;  // Perplexity::tokens
};

/// The text's ids by the options' recipe. `bos`: what replaces the first token of a window in llama.cpp's recipe, or
/// -1. Throws Error(usage) for a text too short, or a window or stride that makes no sense.
Windows cut_windows(std::span<const int32_t> ids, const PerplexityOptions& options, int32_t bos);

/// Each sequence is a window whose predictions all count alike. Sequences have two tokens at least.
Windows whole_sequences(std::vector<std::vector<int32_t>> sequences);

}  // namespace mxq
