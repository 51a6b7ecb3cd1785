// What a run will take, before it begins.
#include <fmt/format.h>

#include <algorithm>

#include "model/model_state.h"
#include "model/model_tokenizer.h"
#include "mxq/error.h"
#include "mxq/evaluate.h"
#include "mxq/experiment.h"
#include "mxq/forecast.h"
#include "mxq/generate.h"
#include "mxq/method.h"
#include "mxq/quantize_model.h"
#include "mxq/run_options.h"
#include "mxq/text.h"

namespace mxq {

namespace {

bool has(const std::vector<std::string>& flags, std::string_view flag) {
  return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

/// The value behind a flag; empty where it is not there.
std::string value_of(const std::vector<std::string>& flags, std::string_view flag) {
  const auto found = std::find(flags.begin(), flags.end(), flag);
  return found == flags.end() || found + 1 == flags.end() ? std::string() : *(found + 1);
}

/// The text as `mxq eval` will see it.
ScoredText text_of(const ExperimentRun::Scoring& scoring) {
  const auto number = [&](std::string_view flag) { return parse_int(value_of(scoring.flags, flag)); };
  if (scoring.text.empty()) return sampled_text({});
  PerplexityOptions options;
  if (const auto name = value_of(scoring.flags, "--recipe"); !name.empty()) options.recipe = parse_recipe(name);
  options.window = number("--window").value_or(0);
  options.stride = number("--stride").value_or(0);
  options.max_tokens = number("--tokens").value_or(0);
  std::error_code ignored;
  const auto size = std::filesystem::file_size(scoring.text, ignored);
  return text_of_bytes(ignored ? 0 : static_cast<int64_t>(size), options);
}

/// Of a model that can be run.
Forecast forecast_scoring(const Model& model, const ExperimentRun& run, const ExperimentRun::Scoring& scoring) {
  ScoredText text = text_of(scoring);
  text.against = scoring.against_original && !run.original;
  // Where the original's logits are kept, only the first run of a worker computes them.
  text.known_logits = text.against && scoring.base_logits;
  RunOptions how;
  if (const auto name = value_of(scoring.flags, "--compute"); !name.empty()) how.compute = parse_compute(name);
  how.packed = has(scoring.flags, "--packed");
  Forecast result = forecast_evaluation(model, model, text, how, measure_speed());
  if (text.known_logits) {
    result.disk_bytes += text.predictions * vocabulary(model.state().source()) * int64_t{sizeof(float)};
  }
  return result;
}

}  // namespace

Forecast estimate_run(const ExperimentRun& run) {
  const Model model(run.model_path);
  Forecast all;
  if (!run.original) {
    const Method method = resolve(model, run.request);
    const MachineSpeed speed = measure_speed(method);
    model.run_packed(has(run.quantize, "--packed"));
    all += fit_into(room_at({}), model, [&] { return forecast(model, run.request, method, Job::quantize, speed); });
  }
  for (const auto& scoring : run.scorings) {
    // Without a configuration nothing can be run, which is said there.
    if (model.state().source().config()) all += forecast_scoring(model, run, scoring);
  }
  const bool plain = std::any_of(run.commands.begin(), run.commands.end(), [](const auto& command) {
    return std::any_of(command.arguments.begin(), command.arguments.end(),
                       [](const auto& a) { return a.find("{plain}") != std::string::npos; });
  });
  if (plain) all.disk_bytes += 2 * weight_bytes(model).weights;
  return all;
}

Room room_beside(const std::filesystem::path& store) {
  return room_at(std::filesystem::absolute(store).parent_path());
}

void check_room(const ExperimentRun& run, const Forecast& needs, const Room& room) {
  check_room("bench", fmt::format("run '{}'", run.label()), needs, room);
}

}  // namespace mxq
