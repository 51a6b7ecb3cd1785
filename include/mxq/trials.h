// Plans that are carried out and compared with the model before one of them is kept.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/allocate.h"
#include "mxq/evaluate.h"
#include "mxq/model.h"
#include "mxq/plan_file.h"
#include "mxq/progress.h"
#include "mxq/quantize_model.h"

namespace mxq {

/// How much perplexity may rise, "1%" or "0.01", as the logarithm of the factor. Throws Error(usage) for anything else,
/// and for a number of 1 or more without "%": "5" may mean 5 % or 500 %.
double parse_max_loss(std::string_view text);

struct TrialOptions {
  /// Text that the model samples itself: other text than sensitivities and calibrations are made on.
  SelfText self{.sequences = 16, .tokens = 256, .sampling = {.seed = 1}};
  /// A text instead, cut as `perplexity` says.
  std::optional<std::string> text;
  /// Its `run` is what both models are run with, whatever the text.
  PerplexityOptions perplexity;
};

/// How `mxq quantize --text` cuts the text of its trials: windows of 512 tokens, the first 16,384.
inline PerplexityOptions trial_text_cut() {
  PerplexityOptions cut;
  cut.window = cut.stride = 512;
  cut.max_tokens = 16384;
  return cut;
}

struct Trial {
  PlanFile plan;
  Comparison comparison;
  /// ln of the factor by which perplexity rises. On the model's own text this is the mean KL divergence, which the
  /// logarithm of the ratio has as its expectation there; on another text the logarithm itself. Infinite, and nothing
  /// compared, where the model does not give numbers.
  double loss = 0;
  std::string not_finite;  // what was said of that; empty for all others
};

struct TrialReport {
  std::vector<Trial> trials;
  size_t kept = 0;
  WriteReport written;
  double seconds = 0;
};

/// Throws Error(usage) where trials for `out` cannot be made: what the two below say too, but after the work that led
/// to their plans.
void check_trial_output(const std::filesystem::path& model, const std::filesystem::path& out, const WriteOptions& write,
                        const std::string& format = "mxq");

/// Writes each plan beside `out`, in the format of the first, and keeps under its name the one of least loss. Throws
/// what quantize_model() and compare_models() throw; nothing is left then.
TrialReport quantize_best(const Model& model, const std::filesystem::path& out, std::span<const PlanFile> plans,
                          const TrialOptions& options, const WriteOptions& write, Progress* progress = nullptr);

/// The smallest model that loses at most `max_loss` (Trial::loss): a first plan by the objective kl, which is the
/// predicted loss, then some more around it, corrected by what was measured. `method` says how to quantize; its plan
/// does not count. Throws Error(infeasible) naming the least loss that was measured where even the largest plan loses
/// more, and as above.
TrialReport quantize_within_loss(const Model& model, const std::filesystem::path& out, const ErrorTable& table,
                                 const AllocateOptions& allocate, const PlanFile& method, double max_loss,
                                 const TrialOptions& options, const WriteOptions& write, Progress* progress = nullptr);

}  // namespace mxq
