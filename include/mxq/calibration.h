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

struct Calibration {
  enum class Text {
    none,  // weights alone
    self,  // what the model samples itself: no data
    file,
  };
  Text text = Text::none;
  /// UTF-8, or .jsonl rows with a "text" each.
  std::string file;
  /// Of a file: spread evenly over it; fewer sequences where it is shorter. Of self: kProbeSequences more are sampled
  /// before these, so that sensitivities are not measured on what the probes were fitted to.
  int64_t sequences = 48;
  int64_t tokens = 384;
  Sampling sampling;  // of self
  /// Of Fit::gptq: share of the mean of the second moments' diagonal that is added to it; more where they are not
  /// positive definite with it.
  double damping = 0.01;
  /// Of Fit::gptq: the order in which columns are coded.
  enum class Order {
    left,      // from left to right
    diagonal,  // by falling second moment, groups together: GPTQ's act-order, with groups that stay where they are
  };
  Order order = Order::left;
  /// Of Fit::gptq: how a group's scale and zero are found.
  enum class ZeroPoint {
    real,       // both by least squares: mxq's own
    integer,    // the group's range, widened to hold 0, and a zero that is one of the codes: GPTQ as published
    symmetric,  // the largest magnitude, the zero always the upper middle code: the default of AutoGPTQ
  };
  ZeroPoint zero_point = ZeroPoint::real;
};

/// A fit, or what others publish under a name of their own: a fit and the options that make it equal theirs.
struct FitMethod {
  Fit fit = Fit::mse;
  std::optional<Normalize> normalize;
  std::optional<Metadata> metadata;
  std::optional<Calibration::Order> order;
  std::optional<Calibration::ZeroPoint> zero_point;
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
std::string_view calibration_text_name(Calibration::Text text);
/// Throws Error(usage) naming the three for anything else.
Calibration::Text parse_calibration_text(std::string_view name);

/// "left", "diagonal".
std::string_view column_order_name(Calibration::Order order);
/// Throws Error(usage) naming the two for anything else.
Calibration::Order parse_column_order(std::string_view name);

/// "real", "integer", "symmetric".
std::string_view zero_point_name(Calibration::ZeroPoint zero_point);
/// Throws Error(usage) naming the three for anything else.
Calibration::ZeroPoint parse_zero_point(std::string_view name);

/// Throws Error(usage) for Fit::gptq and Fit::awq without a text, Fit::awq with a normalization, for a text with fits
/// that have no use for it (rtn, hqq) or with axis 0, for less than one sequence of one token or more than 2^24 of
/// either, and for a damping below 0 or above 100.
void check_calibration(const Calibration& calibration, const QuantizeOptions& options);

}  // namespace mxq
