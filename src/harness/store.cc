// Reading a store.
#include <fmt/format.h>

#include "harness/connection.h"
#include "mxq/error.h"

namespace mxq {

namespace {

RunState parse_run_state(const std::string& name) {
  for (const RunState state : {RunState::running, RunState::done, RunState::failed}) {
    if (run_state_name(state) == name) return state;
  }
  return RunState::queued;
}

}  // namespace

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
  return ResultStore(std::make_unique<StoreConnection>(path, true));
}

ResultStore ResultStore::open(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw Error(ErrorCode::not_found, "open store " + path.string(), "no such file", "a store that mxq bench made");
  }
  return ResultStore(std::make_unique<StoreConnection>(path, false));
}

std::vector<StoredRun> ResultStore::runs() const {
  const Database& database = connection_->database;
  std::vector<StoredRun> all;
  Statement rows(database,
                 "SELECT id, model, method, config, source, state, attempts, started, finished, error FROM runs "
                 "ORDER BY sequence");
  while (rows.step()) {
    StoredRun run;
    run.id = rows.text(0);
    run.model = rows.text(1);
    run.method = rows.text(2);
    run.config = rows.text(3);
    run.source = rows.text(4);
    run.state = parse_run_state(rows.text(5));
    run.attempts = rows.integer(6);
    run.started = rows.number(7);
    run.finished = rows.number(8);
    run.error = rows.text(9);
    all.push_back(std::move(run));
  }
  std::map<std::string, std::map<std::string, double>> metrics;
  for (Statement row(database, "SELECT run, name, value FROM metrics"); row.step();) {
    metrics[row.text(0)][row.text(1)] = row.number(2);
  }
  for (StoredRun& run : all) run.metrics = std::move(metrics[run.id]);
  return all;
}

ExperimentStatus ResultStore::status() const {
  ExperimentStatus status;
  status.queued = connection_->count(RunState::queued);
  status.running = connection_->count(RunState::running);
  status.done = connection_->count(RunState::done);
  status.failed = connection_->count(RunState::failed);
  status.workers = connection_->live_workers();
  status.mean_seconds = connection_->mean_seconds();
  if (status.workers > 0) {
    status.eta_seconds =
        static_cast<double>(status.queued + status.running) * status.mean_seconds / static_cast<double>(status.workers);
  }
  return status;
}

std::string ResultStore::document(const std::string& id, const std::string& name) const {
  Statement found(connection_->database, "SELECT json FROM documents WHERE run = ? AND name = ?");
  found.bind(id).bind(name);
  return found.step() ? found.text(0) : std::string();
}

std::string ResultStore::log(const std::string& id) const {
  Statement found(connection_->database, "SELECT log FROM runs WHERE id = ?");
  found.bind(id);
  return found.step() ? found.text(0) : std::string();
}

}  // namespace mxq
