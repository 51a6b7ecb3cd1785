// The tokens that calibrations and sensitivities run a model on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "model/model_state.h"
#include "mxq/calibration.h"
#include "mxq/generate.h"
#include "mxq/progress.h"

namespace mxq {

using TokenSequences = std::vector<std::vector<int32_t>>;

/// What the model samples. A sequence that repeats itself (is_degenerate()) is drawn anew with another seed, three
/// times at most, unless the temperature is 0. Remembered by the model, and in `cache` by content; empty: nowhere.
/// Throws what sample_sequences() throws.
const SampledText& self_sequences(Model::State& model, Runner& runner, const SelfText& text,
                                  const std::filesystem::path& cache, Progress& progress);

struct CalibrationTokens {
  TokenSequences sequences;
  TokenSequences probes;  // of self: sampled together with them
  SampleHealth health;    // likewise
  std::string note;       // of a file that is shorter than asked for
};

/// The text of a calibration; nothing of none. Throws as above and, for a file, what reading and tokenizing it throw,
/// Error(usage) where it is shorter than a sequence.
CalibrationTokens calibration_tokens(Model::State& model, Runner& runner, const CalibrationText& calibration,
                                     const std::filesystem::path& cache, Progress& progress);

}  // namespace mxq
