// What a run will take, before it begins.
#include <fmt/format.h>

#include <algorithm>

#include "model/model_state.h"
#include "model/model_tokenizer.h"
#include "mxq/cost.h"
#include "mxq/error.h"
#include "mxq/evaluate.h"
#include "mxq/experiment.h"
#include "mxq/generate.h"
#include "mxq/method.h"
#include "mxq/quantize_model.h"
#include "mxq/run_options.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq {

namespace {

/// Seconds a weight on one core of a current server to round it or fit it alone, measured on SmolLM2 (bench/README.md).
constexpr double kWeightsAlone = 3e-8;
/// A token scored costs 2 FLOP a weight, of which a core does so many a second.
constexpr double kFlopsF32 = 1.2e11, kFlopsBf16 = 3.5e11;
/// Products with packed weights take so much longer (bench/README.md).
constexpr double kPacked = 1.5;
/// Of English in the vocabularies of current models.
constexpr int64_t kBytesPerToken = 4;
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

bool in_bf16(std::string_view compute) {
  return compute == "bf16" || (compute == "auto" && best_compute() == Compute::bf16);
}

int64_t tokens_of_text(const ExperimentRun::Scoring& scoring) {
  if (scoring.text.empty()) {
    const SelfText own;
    return own.sequences * own.tokens;
  }
  std::error_code ignored;
  const auto size = std::filesystem::file_size(scoring.text, ignored);
  const int64_t tokens = ignored ? 0 : static_cast<int64_t>(size) / kBytesPerToken;
  return std::min(tokens, parse_int(value_of(scoring.flags, "--tokens")).value_or(tokens));
}

/// Tokens that pass through a model to score it, those of overlapping windows as often as they do.
double tokens_scored(const ExperimentRun::Scoring& scoring) {
  const int64_t tokens = tokens_of_text(scoring);
  const bool overlap = !scoring.text.empty() && value_of(scoring.flags, "--recipe") != recipe_name(Recipe::llama_cpp);
  const auto window = parse_int(value_of(scoring.flags, "--window")),
             stride = parse_int(value_of(scoring.flags, "--stride"));
  if (!overlap || tokens == 0) return static_cast<double>(tokens);
  const auto length = static_cast<double>(window.value_or(window_of({})));
  return static_cast<double>(tokens) * std::max(1.0, length / (stride ? static_cast<double>(*stride) : length / 2));
}

}  // namespace

RunEstimate estimate_run(const ExperimentRun& run) {
  const Model model(run.model_path);
  const auto [stored, weights] = weight_bytes(model);
  const auto work = static_cast<double>(weights) / std::max(1, threads());
  RunEstimate estimate;
  estimate.memory_bytes = kBaseBytes;
  if (!run.original) {
    const Method method = resolve(model, run.request);
    const bool calibrated = method.calibration.kind != CalibrationText::Kind::none;
    const bool sensitivity = method.objective == Objective::kl;
    const bool bf16 = in_bf16("auto");
    estimate.seconds += work * kWeightsAlone * (run.request.uniform ? 1 : 12);
    const int64_t text = method.calibration.sequences * method.calibration.tokens;
    if (calibrated) estimate.seconds += seconds_to_sample(weights, text) + seconds_to_fit(weights, text);
    if (sensitivity) {
      estimate.seconds += seconds_of_sensitivities(weights, method.sample.sequences * method.sample.tokens);
      // The probes are fitted as the plan's matrices will be.
      if (calibrated) estimate.seconds += seconds_to_fit(weights, text);
    }
    // The model, a layer's activations and second moments.
    if (calibrated || sensitivity) {
      estimate.memory_bytes = std::max(estimate.memory_bytes, (bf16 ? 2 : 4) * weights + 3 * kBaseBytes);
    }
    // 8 bits a weight and what is not quantized, at most what it was.
    estimate.disk_bytes += std::min(stored, 2 * weights);
  }
  for (const auto& scoring : run.scorings) {
    const bool compared = scoring.against_original && !run.original, kept = compared && scoring.base_logits;
    // Where the original's logits are kept, only the first run of a worker computes them.
    const int models = compared && !kept ? 2 : 1;
    if (kept) estimate.disk_bytes += tokens_of_text(scoring) * vocabulary(model.state().source()) * int64_t{sizeof(float)};
    // Text of its own is sampled first.
    const int passes = models + (scoring.text.empty() ? 1 : 0);
    const bool bf16 = in_bf16(value_of(scoring.flags, "--compute")), packed = has(scoring.flags, "--packed");
    estimate.seconds +=
        tokens_scored(scoring) * passes * 2 * work / (bf16 ? kFlopsBf16 : kFlopsF32) * (packed ? kPacked : 1);
    const int64_t bytes = packed ? stored : (bf16 ? 2 : 4) * weights;
    estimate.memory_bytes = std::max(estimate.memory_bytes, models * bytes + 2 * kBaseBytes);
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

ExperimentRoom room_beside(const std::filesystem::path& store) {
  ExperimentRoom room;
  room.folder = std::filesystem::absolute(store).parent_path();
  if (const int64_t memory = total_memory_bytes(); memory > 0) room.memory_bytes = memory;
  std::error_code unknown;
  const auto space = std::filesystem::space(room.folder, unknown);
  if (!unknown) room.disk_bytes = static_cast<int64_t>(space.available);
  return room;
}

void check_room(const ExperimentRun& run, const RunEstimate& needs, const ExperimentRoom& room) {
  if (room.memory_bytes && needs.memory_bytes > *room.memory_bytes) {
    throw Error(ErrorCode::infeasible, "bench",
                fmt::format("run '{}' needs about {} of memory", run.label(), format_size(needs.memory_bytes)),
                fmt::format("at most the {} of this machine", format_size(*room.memory_bytes)));
  }
  if (room.disk_bytes && needs.disk_bytes > *room.disk_bytes) {
    throw Error(ErrorCode::infeasible, "bench",
                fmt::format("run '{}' needs about {} of disk", run.label(), format_size(needs.disk_bytes)),
                fmt::format("at most the {} that are left in {}", format_size(*room.disk_bytes), room.folder.string()));
  }
}

}  // namespace mxq
