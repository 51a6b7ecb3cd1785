#include "cli/say_forecast.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "cli/progress_bar.h"
#include "mxq/plan_model.h"
#include "mxq/text.h"

namespace mxq::cli {

void announce(const std::string& command, const Forecast& needs, const std::filesystem::path& output,
              const std::string& instead) {
  const Room room = room_at(output);
  check_room(command, "this", needs, room, instead);
  expect_seconds(needs.seconds);
  if (needs.seconds > 1) spdlog::info("{}", describe(needs));
  if (room.free_memory_bytes && needs.memory_bytes > *room.free_memory_bytes) {
    spdlog::warn("about {} of memory are needed, and {} are free", format_size(needs.memory_bytes),
                 format_size(*room.free_memory_bytes));
  }
}

namespace {

/// fit_into(), said.
Forecast fitted(const Model& model, const Room& room, const std::function<Forecast()>& job) {
  const bool asked = model.runs_packed();
  const Forecast needs = fit_into(room, model, job);
  if (!asked && model.runs_packed()) {
    spdlog::warn("memory does not hold the model: its weights are read from the files whenever it is run (--packed)");
  }
  return needs;
}

}  // namespace

Forecast announce_job(const std::string& command, const Model& model, const MethodRequest& request,
                      const Method& method, Job job, const std::filesystem::path& output,
                      const std::optional<ScoredText>& trial_text) {
  const Room room = room_at(output);
  const MachineSpeed speed = measure_speed(method);
  const Forecast needs = fitted(model, room, [&] { return forecast(model, request, method, job, speed, trial_text); });
  announce(command, needs, output, room.holds(needs) ? std::string() : smaller_method(model, request, job, room));
  return needs;
}

Forecast announce_plan(const std::string& command, const Model& model, const PlanFile& plan,
                       const std::filesystem::path& output) {
  const MachineSpeed speed = measure_speed(method_of(plan));
  const Forecast needs = fitted(model, room_at(output), [&] { return forecast(model, plan, speed); });
  announce(command, needs, output);
  return needs;
}

}  // namespace mxq::cli
