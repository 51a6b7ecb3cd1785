// Runs by name, and reading a store.
#include <fmt/format.h>

#include "harness/connection.h"
#include "mxq/error.h"

namespace mxq {

namespace {

std::string label_of(const std::string& model, const std::string& method, const std::string& config) {
  return fmt::format("{} {}{}{}", model, method, config.empty() ? "" : " ", config);
}

}  // namespace

std::string ExperimentRun::label() const {
  return label_of(model, method, config);
}

std::string StoredRun::label() const {
  return label_of(model, method, config);
}

std::string_view run_state_name(RunState state) {
  switch (state) {
    case RunState::queued:
      return "queued";
    case RunState::running:
      return "running";
    case RunState::done:
      return "done";
    case RunState::failed:
      return "failed";
  }
  return "";
}

ResultStore::ResultStore(std::unique_ptr<StoreConnection> connection) : connection_(std::move(connection)) {}
ResultStore::~ResultStore() = default;
ResultStore::ResultStore(ResultStore&&) noexcept = default;

ResultStore ResultStore::create(const std::filesystem::path& path) {
  return ResultStore(std::make_unique<StoreConnection>(path, Access::create));
}

ResultStore ResultStore::open(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw Error(ErrorCode::not_found, "open store " + path.string(), "no such file", "a store that mxq bench made");
  }
  return ResultStore(std::make_unique<StoreConnection>(path, Access::read));
}

std::vector<StoredRun> ResultStore::runs(bool all) const {
  const Database& database = connection_->database;
  const auto live = connection_->live_workers();
  std::vector<StoredRun> found;
  Statement rows(database,
                 "SELECT id, model, method, config, source, state, attempts, started, finished, error, version, "
                 "superseded, worker, attempt FROM runs WHERE superseded <= ? ORDER BY sequence");
  rows.bind(int64_t{all});
  while (rows.step()) {
    StoredRun run;
    run.id = rows.text(0);
    run.model = rows.text(1);
    run.method = rows.text(2);
    run.config = rows.text(3);
    run.source = rows.text(4);
    run.state = parse_run_state(rows.text(5), connection_->path);
    run.attempts = rows.integer(6);
    run.started = rows.number(7);
    run.finished = rows.number(8);
    run.error = rows.text(9);
    run.version = rows.text(10);
    run.superseded = rows.integer(11) != 0;
    run.attempt = rows.text(13);
    if (run.state == RunState::running && !live.contains(rows.integer(12))) run.state = RunState::queued;
    found.push_back(std::move(run));
  }
  std::map<std::string, std::map<std::string, double>> metrics;
  for (Statement row(database, "SELECT run, name, value FROM metrics"); row.step();) {
    metrics[row.text(0)][row.text(1)] = row.number(2);
  }
  for (StoredRun& run : found) run.metrics = std::move(metrics[run.id]);
  return found;
}

std::optional<RunState> ResultStore::state(const std::string& id) const {
  const auto found = connection_->state(id);
  if (found != RunState::running) return found;
  Statement row(connection_->database, "SELECT worker FROM runs WHERE id = ?");
  row.bind(id);
  return row.step() && connection_->live_workers().contains(row.integer(0)) ? found : RunState::queued;
}

ExperimentStatus ResultStore::status() const {
  ExperimentStatus status;
  status.workers = std::ssize(connection_->live_workers());
  double seconds = 0;
  for (const StoredRun& run : runs()) {
    if (run.source != "mxq") continue;
    switch (run.state) {
      case RunState::queued:
        ++status.queued;
        break;
      case RunState::running:
        ++status.running;
        break;
      case RunState::done:
        ++status.done;
        seconds += run.finished - run.started;
        break;
      case RunState::failed:
        ++status.failed;
        break;
    }
  }
  if (status.done > 0) status.mean_seconds = seconds / static_cast<double>(status.done);
  if (status.workers > 0) status.eta_seconds = connection_->seconds_left() / static_cast<double>(status.workers);
  return status;
}

std::string ResultStore::log(const std::string& id) const {
  Statement found(connection_->database, "SELECT log FROM runs WHERE id = ?");
  found.bind(id);
  return found.step() ? found.text(0) : std::string();
}

}  // namespace mxq
