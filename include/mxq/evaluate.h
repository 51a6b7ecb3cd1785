// What a model is worth on a text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "mxq/progress.h"
#include "mxq/run_options.h"

namespace mxq {

/// Hugging Face's recipe for models of fixed length, the paper's: windows of `window` tokens, each `stride` after the
/// last; a window's mean loss counts for the tokens that no window before it had, and the sum is divided by the end of
/// the last window.
struct PerplexityOptions {
  int64_t window = 1024;
  int64_t stride = 512;
  /// Only the first tokens of the text; 0: all.
  int64_t max_tokens = 0;
  RunOptions run;
};

struct Perplexity {
  double perplexity = 0;
  double nll = 0;      // ln(perplexity)
  int64_t tokens = 0;  // end of the last window
  int64_t windows = 0;
  double seconds = 0;            // of the forward passes
  double tokens_per_second = 0;  // all tokens of all windows
  int64_t weight_bytes = 0;      // as the model's files hold them
};

/// Throws Error(usage) for a text of fewer than two tokens, or a window or stride that makes no sense, and whatever
/// reading the model, its tokenizer (mxq/tokenizer.h) and running it throw.
Perplexity measure_perplexity(const std::filesystem::path& model, const std::string& text,
                              const PerplexityOptions& options = {}, Progress* progress = nullptr);

}  // namespace mxq
