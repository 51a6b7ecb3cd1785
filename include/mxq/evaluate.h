// What a model is worth on a text, and what it lost against another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "mxq/generate.h"
#include "mxq/model.h"
#include "mxq/output.h"
#include "mxq/progress.h"
#include "mxq/run_options.h"

namespace mxq {

/// How a text is cut into windows and which of their tokens count; docs/reference/algorithms.md has both in full.
enum class Recipe {
  /// Hugging Face's for models of fixed length, the paper's: windows that overlap, each `stride` after the last; a
  /// window's mean loss counts for the tokens that no window before it had.
  hf,
  /// llama-perplexity's: windows one after another, of each only the second half counts; what does not fill a window is
  /// left out.
  llama_cpp,
};
/// "hf", "llama.cpp".
std::string_view recipe_name(Recipe recipe);
/// Throws Error(usage) naming both for anything else.
Recipe parse_recipe(std::string_view name);

struct PerplexityOptions {
  /// What the numbers may be where they are not 0.
  struct Limits {
    int64_t least, most;
  };
  static constexpr Limits kWindow{2, int64_t{1} << 30}, kStride{1, int64_t{1} << 30}, kTokens{2, int64_t{1} << 40};

  Recipe recipe = Recipe::hf;
  /// Tokens that the model sees at a time. 0: the recipe's own, 1,024 (hf) or 512 (llama_cpp).
  int64_t window = 0;
  /// hf only: tokens from one window to the next. 0: half the window.
  int64_t stride = 0;
  /// Only the first tokens of the text; 0: all.
  int64_t max_tokens = 0;
  /// Tokens that pass through the model at once, as whole windows (at least one): changes speed and memory, and results
  /// by rounding only. 0: 1,024.
  int64_t batch_tokens = 0;
  RunOptions run;
};
/// The window that the options ask for, or the recipe's own.
int64_t window_of(const PerplexityOptions& options);

struct Perplexity {
  double perplexity = 0;
  double standard_error = 0;  // of the perplexity, tokens taken as independent
  double nll = 0;             // ln(perplexity)
  int64_t tokens = 0;         // that count: hf: to the end of the last window; else those that were predicted
  int64_t windows = 0;
  double seconds = 0;            // of the forward passes
  double tokens_per_second = 0;  // all tokens of all windows
  int64_t weight_bytes = 0;      // as the model's files hold them
  /// Of text that a model sampled: that, and why, ids had to do without a tokenizer; empty: it was there.
  std::string sample_note = {};
};

/// Throws Error(usage) for a text too short for a window, or a window or stride that makes no sense, and whatever
/// reading the model, its tokenizer (mxq/tokenizer.h) and running it throw.
Perplexity measure_perplexity(const Model& model, const std::string& text, const PerplexityOptions& options = {},
                              Progress* progress = nullptr);

/// On the model's own text, every token of it counting.
Perplexity measure_perplexity(const Model& model, const SelfText& text, const RunOptions& run = {},
                              Progress* progress = nullptr);

/// How far a model's predictions are from a base model's on the same tokens; a mean and its standard error over the
/// tokens that count, taken as independent.
struct Divergence {
  // KL(base || model) of the distribution of the next token, over the whole vocabulary, in nats.
  double mean = 0, mean_error = 0, median = 0, p99 = 0, max = 0;
  // Share of tokens where both find the same one likeliest.
  double top1_agreement = 0, top1_error = 0;
  // ln(perplexity of the model / perplexity of the base); the error is that of paired differences.
  double ln_ppl_ratio = 0, ln_ppl_ratio_error = 0;
};

struct Comparison {
  Perplexity model, base;  // seconds and tokens_per_second: of both together
  Divergence kl;
};

/// What --base-logits keeps.
inline constexpr FileKind kLogitFile{"a file of logits", "MXQLOGIT"};

/// Runs both on the same windows, cut by the base's tokenizer. Both models are in memory. Throws as above, and
/// Error(usage) where the two have not the same tokens. `base_logits` names a file for the base's logits, tokens that
/// count x vocabulary x 4 bytes: where it is there the base is not run, nor loaded; where it is not it is made. Of
/// another model, text, window or compute it is an Error(usage), as is what OutputFile refuses; not whole it is an
/// Error(invalid_file).
Comparison compare_models(const Model& model, const Model& base, const std::string& text,
                          const PerplexityOptions& options = {}, Progress* progress = nullptr,
                          const std::filesystem::path& base_logits = {});
/// On the base's own text: no data is needed.
Comparison compare_models(const Model& model, const Model& base, const SelfText& text, const RunOptions& run = {},
                          Progress* progress = nullptr, const std::filesystem::path& base_logits = {});

}  // namespace mxq
