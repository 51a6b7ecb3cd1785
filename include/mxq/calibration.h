// Text on which a fit looks at a model's activations.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/generate.h"
#include "mxq/scheme.h"

namespace mxq {

/// Sequences that sensitivities are measured on, and Sampling::top_p of them: without the unlikeliest tokens, which
/// take a model off into what nobody writes, its text is more like others' (docs/decisions/0014).
inline constexpr int64_t kProbeSequences = 4;
inline constexpr double kProbeTopP = 0.95;
/// That text, of so many tokens a sequence, whatever the top_p of `sampling`.
inline SelfText probe_text(int64_t tokens, Sampling sampling = {}) {
  sampling.top_p = kProbeTopP;
  return {.sequences = kProbeSequences, .tokens = tokens, .sampling = sampling};
}

/// The text that a fit is made on.
struct CalibrationText {
  enum class Kind {
    none,  // weights alone
    self,  // what the model samples itself: no data
    file,
  };
  Kind kind = Kind::none;
  /// UTF-8, or .jsonl rows with a "text" each.
  std::string file;
  /// Of a file: spread evenly over it; fewer sequences where it is shorter. Of self: kProbeSequences more are sampled
  /// before these, so that sensitivities are not measured on what the probes were fitted to.
  int64_t sequences = 48;
  int64_t tokens = 384;
  Sampling sampling;  // of self
};

/// A fit, or what others publish under a name of their own: a fit and the options that make it equal theirs.
struct FitMethod {
  Fit fit = Fit::mse;
  std::optional<Normalize> normalize;
  std::optional<Metadata> metadata;
  std::optional<ColumnOrder> order;
  std::optional<ZeroPoint> zero_point;
  std::optional<TokenWeighting> token_weights;
  std::optional<double> shrinkage, correction;
  std::optional<int> sweeps;
};
/// The name of a fit, "sinq" or "autogptq". Throws Error(usage) naming them all for anything else.
FitMethod parse_fit_method(std::string_view name);

/// How sampling went.
struct SampleHealth {
  int64_t sequences = 0;
  int64_t drawn_anew = 0;  // because they repeated themselves
  int64_t degenerate = 0;  // that do so still, after several attempts
  std::string note = {};   // that, and why, ids had to do without a tokenizer; empty: it was there
};

/// What a model has sampled for a calibration on its own text.
struct SampledText {
  std::vector<std::vector<int32_t>> sequences;
  SampleHealth health;
};

/// "none", "self", "file".
std::string_view calibration_text_name(CalibrationText::Kind kind);
/// Throws Error(usage) naming the three for anything else.
CalibrationText::Kind parse_calibration_text(std::string_view name);

/// Throws Error(usage) for Fit::gptq and Fit::awq without a text, Fit::awq with a normalization, for a text with fits
/// that have no use for it (rtn, hqq) or with axis 0, for less than one sequence of one token or more than 2^24 of
/// either, and for a damping below 0 or above 100.
void check_calibration(const CalibrationText& calibration, const QuantizeOptions& options);

}  // namespace mxq
