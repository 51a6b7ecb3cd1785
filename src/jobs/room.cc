// Whether a machine has what a job takes.
#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "base/control_group.h"
#include "mxq/error.h"
#include "mxq/forecast.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq {

namespace fs = std::filesystem;

namespace {

/// "40 s", "3 min", "2.5 h".
std::string format_seconds(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", std::max(1.0, seconds));
  if (seconds < 90 * 60) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

}  // namespace

Room room_at(const fs::path& path) {
  Room room;
  if (const int64_t memory = total_memory_bytes(); memory > 0) room.memory_bytes = memory;
  room.free_memory_bytes = free_memory_bytes("/");
  if (path.empty()) return room;
  std::error_code unknown;
  room.folder = fs::absolute(path, unknown);
  while (!fs::is_directory(room.folder, unknown) && room.folder != room.folder.parent_path()) {
    room.folder = room.folder.parent_path();
  }
  const auto space = fs::space(room.folder, unknown);
  // File systems that hold nothing of their own, such as /proc, have no size.
  if (!unknown && space.capacity > 0) room.disk_bytes = static_cast<int64_t>(space.available);
  return room;
}

Forecast fit_into(const Room& room, const Model& model, const std::function<Forecast()>& job) {
  const Forecast loaded = job();
  if (room.holds(loaded) || model.runs_packed()) return loaded;
  model.run_packed();
  const Forecast packed = job();
  if (room.holds(packed)) return packed;
  model.run_packed(false);
  return loaded;
}

void check_room(std::string_view what, std::string_view given, const Forecast& needs, const Room& room,
                const std::string& instead) {
  if (!room.holds(needs)) {
    std::string allowed = fmt::format("at most the {} of this machine", format_size(*room.memory_bytes));
    if (!instead.empty()) allowed += fmt::format(", as {} needs", instead);
    throw Error(ErrorCode::infeasible, std::string(what),
                fmt::format("{} needs about {} of memory", given, format_size(needs.memory_bytes)), allowed);
  }
  if (room.disk_bytes && needs.disk_bytes > *room.disk_bytes) {
    throw Error(ErrorCode::infeasible, std::string(what),
                fmt::format("{} needs about {} of disk", given, format_size(needs.disk_bytes)),
                fmt::format("at most the {} that are left in {}", format_size(*room.disk_bytes), room.folder.string()));
  }
}

std::string smaller_method(const Model& model, const MethodRequest& request, Job job, const Room& room) {
  // Trials and sensitivities run the model, whatever the fit.
  if (!room.memory_bytes || request.max_loss || request.verify) return {};
  MethodRequest streamed = request;
  streamed.objective = Objective::rel;
  streamed.fit = parse_fit_method("mse");
  streamed.calibration.reset();
  try {
    const Forecast needs = forecast(model, streamed, resolve(model, streamed), job, {});
    if (!room.holds(needs)) return {};
  } catch (const Error&) {
    return {};  // other options do not go with it
  }
  return request.uniform ? "--fit mse" : "--objective rel --fit mse";
}

std::string describe(const Forecast& forecast) {
  std::string text =
      fmt::format("about {} and {} of memory", format_seconds(forecast.seconds), format_size(forecast.memory_bytes));
  if (forecast.disk_bytes > 0) text += fmt::format("; {} on disk", format_size(forecast.disk_bytes));
  return text;
}

}  // namespace mxq
