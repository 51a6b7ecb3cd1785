// Text on which a fit looks at a model's activations.
#pragma once

#include <array>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "mxq/generate.h"
#include "mxq/scheme.h"

namespace mxq {

/// Temperatures of the sequences that sensitivities are measured on, one each, as factors: what a model says at 1 alone
/// is less like other texts (docs/decisions/0006).
inline constexpr std::array kProbeTemperatures{0.7, 1.3};
inline constexpr int64_t kProbeSequences = std::ssize(kProbeTemperatures);
/// SelfText::temperature_factors of them.
inline std::vector<double> probe_temperature_factors() {
  return {kProbeTemperatures.begin(), kProbeTemperatures.end()};
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
};

/// How sampling went.
struct SampleHealth {
  int64_t sequences = 0;
  int64_t drawn_anew = 0;  // because they repeated themselves
  int64_t degenerate = 0;  // that do so still, after several attempts
};

/// "none", "self", "file".
std::string_view calibration_text_name(Calibration::Text text);
/// Throws Error(usage) naming the three for anything else.
Calibration::Text parse_calibration_text(std::string_view name);

/// Throws Error(usage) for Fit::gptq without a text, for a text with fits that have no use for it (rtn, hqq) or with
/// axis 0, and for less than one sequence of one token.
void check_calibration(const Calibration& calibration, const QuantizeOptions& options);

}  // namespace mxq
