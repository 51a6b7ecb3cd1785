// What a run will take, before it begins.
#include <algorithm>

#include "model/model_source.h"
#include "mxq/experiment.h"
#include "mxq/runtime.h"
#include "mxq/scheme.h"

namespace mxq {

namespace {

/// Seconds a weight on one core of a current server, measured on SmolLM2 (bench/README.md): rounding, the weight-only
/// fits, and running the model on its own text for sensitivities and second moments.
constexpr double kWeightsAlone = 3e-8, kCalibrated = 3.5e-7, kSensitivity = 9e-7;
/// A token scored costs 2 FLOP a weight, of which a core does so many a second.
constexpr double kFlopsF32 = 1.2e11, kFlopsBf16 = 3.5e11;
/// Windows that are scored where a text says nothing: WikiText-2's.
constexpr int64_t kUsualTokens = 300000;
/// What a process needs beside the weights.
constexpr int64_t kBaseBytes = int64_t{512} << 20;

bool has(const std::vector<std::string>& flags, std::string_view flag) {
  return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

/// The value behind a flag; empty where it is not there.
std::string value_of(const std::vector<std::string>& flags, std::string_view flag) {
  const auto found = std::find(flags.begin(), flags.end(), flag);
  return found == flags.end() || found + 1 == flags.end() ? std::string() : *(found + 1);
}

}  // namespace

RunEstimate estimate_run(const ExperimentRun& run) {
  const auto model = open_model(run.model_path);
  int64_t weights = 0, stored = 0;
  for (const SourceTensor& tensor : model->tensors()) {
    weights += tensor.elements();
    stored += model->stored_bytes(tensor);
  }
  const auto work = static_cast<double>(weights) / std::max(1, threads());
  RunEstimate estimate;
  estimate.memory_bytes = kBaseBytes;
  if (!run.original) {
    const std::string fit = value_of(run.quantize, "--fit"), objective = value_of(run.quantize, "--objective");
    const bool planned = !has(run.quantize, "--uniform");
    const bool calibrated = fit.empty() || fit == "gptq" || fit == "autogptq" || fit == "awq";
    const bool sensitivity = planned && (objective.empty() || objective == "kl");
    estimate.seconds +=
        work * (kWeightsAlone * (planned ? 12 : 1) + (calibrated ? kCalibrated : 0) + (sensitivity ? kSensitivity : 0));
    // bf16, and a layer's activations and second moments.
    if (calibrated || sensitivity)
      estimate.memory_bytes = std::max(estimate.memory_bytes, 2 * weights + 3 * kBaseBytes);
    // 8 bits a weight and what is not quantized, at most what it was.
    estimate.disk_bytes += std::min(stored, 2 * weights);
  }
  for (const auto& scoring : run.scorings) {
    const std::string tokens = value_of(scoring.flags, "--tokens");
    const auto count = static_cast<double>(tokens.empty() ? kUsualTokens : std::atoll(tokens.c_str()));
    const int models = scoring.against_original && !run.original ? 2 : 1;
    const bool bf16 = value_of(scoring.flags, "--compute") == "bf16";
    estimate.seconds += count * models * 2 * work / (bf16 ? kFlopsBf16 : kFlopsF32);
    const int64_t bytes = bf16 ? 2 : 4;
    estimate.memory_bytes = std::max(estimate.memory_bytes, models * bytes * weights + 2 * kBaseBytes);
  }
  for (const auto& command : run.commands) {
    if (std::any_of(command.arguments.begin(), command.arguments.end(),
                    [](const auto& a) { return a.find("{plain}") != std::string::npos; })) {
      estimate.disk_bytes += 2 * weights;
      break;
    }
  }
  return estimate;
}

}  // namespace mxq
