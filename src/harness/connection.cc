#include "harness/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <vector>

#include "mxq/error.h"

namespace mxq {

namespace {

constexpr int64_t kVersion = 2;
/// Marks a SQLite file as one of ours: "mxqs".
constexpr int64_t kApplication = 0x6d787173;

constexpr RunState kStates[] = {RunState::queued, RunState::running, RunState::done, RunState::failed};

constexpr const char* kTables = R"(
CREATE TABLE runs(
  id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, model TEXT NOT NULL, method TEXT NOT NULL, config TEXT NOT NULL,
  source TEXT NOT NULL, state TEXT NOT NULL CHECK(state IN ('queued', 'running', 'done', 'failed')),
  worker INTEGER, attempts INTEGER NOT NULL DEFAULT 0, started REAL, finished REAL, error TEXT, log TEXT,
  version TEXT NOT NULL DEFAULT '', superseded INTEGER NOT NULL DEFAULT 0, estimate REAL,
  attempt TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE INDEX runs_by_state ON runs(state);
CREATE INDEX runs_by_label ON runs(model, method, config);
CREATE TABLE metrics(run TEXT NOT NULL REFERENCES runs(id), name TEXT NOT NULL, value REAL NOT NULL,
  PRIMARY KEY(run, name)) WITHOUT ROWID;
CREATE TABLE documents(run TEXT NOT NULL REFERENCES runs(id), name TEXT NOT NULL, json TEXT NOT NULL,
  PRIMARY KEY(run, name)) WITHOUT ROWID;
CREATE TABLE workers(id INTEGER PRIMARY KEY, folder TEXT NOT NULL);
)";

/// SQLite takes files of these names for parts of the store, and removes them beside a new one.
const std::filesystem::path& checked(const std::filesystem::path& path) {
  std::error_code ignored;
  for (const char* end : {"-journal", "-wal", "-shm"}) {
    const std::filesystem::path side = path.string() + end;
    // Whoever makes a store makes them after it: looked at in the other order, they are never taken for a user's.
    if (!std::filesystem::exists(std::filesystem::symlink_status(side, ignored))) continue;
    if (std::filesystem::exists(path, ignored)) continue;
    throw Error(ErrorCode::usage, "make store " + path.string(),
                fmt::format("'{}' is there already", side.filename().string()), "another name");
  }
  return path;
}

int64_t pragma(const Database& database, const char* sql) {
  Statement statement(database, sql);
  return statement.step() ? statement.integer(0) : 0;
}

}  // namespace

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::optional<RunState> find_run_state(std::string_view name) {
  for (const RunState state : kStates) {
    if (run_state_name(state) == name) return state;
  }
  return std::nullopt;
}

RunState parse_run_state(const std::string& name, const std::filesystem::path& store) {
  if (const auto state = find_run_state(name)) return *state;
  throw Error(ErrorCode::invalid_file, "read store " + store.string(), fmt::format("state '{}'", name),
              "queued, running, done or failed");
}

StoreConnection::StoreConnection(const std::filesystem::path& path_, Access access)
    : path(path_), database(checked(path_), access) {
  // Nothing of another program's database is changed, not even its journal.
  if (access == Access::create && pragma(database, "SELECT count(*) FROM sqlite_master") == 0) {
    make_tables();
  }
  check_ours();
  database.execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
}

void StoreConnection::make_tables() {
  database.execute("PRAGMA journal_mode = WAL");
  Transaction transaction(database);
  if (pragma(database, "SELECT count(*) FROM sqlite_master") == 0) {
    database.execute(kTables);
    database.execute(
        fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplication, kVersion).c_str());
  }
  transaction.commit();
}

void StoreConnection::check_ours() const {
  const std::string operation = "open store " + path.string();
  if (pragma(database, "PRAGMA application_id") != kApplication) {
    throw Error(ErrorCode::invalid_file, operation, "a database of another program", "a store that mxq bench made");
  }
  if (const int64_t version = pragma(database, "PRAGMA user_version"); version != kVersion) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("version {}", version),
                fmt::format("version {}", kVersion));
  }
}

int64_t StoreConnection::register_worker(const WorkerFolder& folder) {
  Statement(database, "INSERT INTO workers(folder) VALUES(?)").bind(folder.name()).run();
  return database.last_id();
}

void StoreConnection::dismiss_worker(int64_t worker) {
  Statement(database, "DELETE FROM workers WHERE id = ?").bind(worker).run();
}

void StoreConnection::release_dead() {
  Transaction transaction(database);
  std::vector<int64_t> dead;
  for (Statement all(database, "SELECT id, folder FROM workers"); all.step();) {
    if (worker_ended(work_folder() / all.text(1))) dead.push_back(all.integer(0));
  }
  for (const int64_t worker : dead) {
    Statement(database, "UPDATE runs SET state = 'queued', worker = NULL WHERE state = 'running' AND worker = ?")
        .bind(worker)
        .run();
    dismiss_worker(worker);
  }
  transaction.commit();
  remove_ended_workers(work_folder());
}

void StoreConnection::enqueue(const std::string& id, const ExperimentRun& run) {
  Statement(database,
            "INSERT INTO runs(id, sequence, model, method, config, source, state, version, estimate) "
            "VALUES(?, (SELECT coalesce(max(sequence), 0) + 1 FROM runs), ?, ?, ?, 'mxq', 'queued', ?, ?) "
            "ON CONFLICT(id) DO UPDATE SET sequence = excluded.sequence, model = excluded.model, "
            "method = excluded.method, config = excluded.config, superseded = 0, "
            "estimate = coalesce(excluded.estimate, estimate)")
      .bind(id)
      .bind(run.model)
      .bind(run.method)
      .bind(run.config)
      .bind(MXQ_VERSION)
      .bind(run.seconds)
      .run();
  Statement(database,
            "UPDATE runs SET superseded = 1 "
            "WHERE source = 'mxq' AND model = ? AND method = ? AND config = ? AND id <> ?")
      .bind(run.model)
      .bind(run.method)
      .bind(run.config)
      .bind(id)
      .run();
}

void StoreConnection::retry(const std::string& id) {
  Statement(database, "UPDATE runs SET state = 'queued' WHERE id = ? AND state = 'failed'").bind(id).run();
}

std::optional<RunState> StoreConnection::state(const std::string& id) const {
  Statement found(database, "SELECT state FROM runs WHERE id = ?");
  found.bind(id);
  if (!found.step()) return std::nullopt;
  return parse_run_state(found.text(0), path);
}

bool StoreConnection::claim(const std::string& id, int64_t worker) {
  Statement(database,
            "UPDATE runs SET state = 'running', worker = ?, attempts = attempts + 1, started = ?, finished = NULL, "
            "error = NULL WHERE id = ? AND state = 'queued' AND superseded = 0")
      .bind(worker)
      .bind(unix_seconds())
      .bind(id)
      .run();
  return database.changes() == 1;
}

bool StoreConnection::finish(const std::string& id, int64_t worker, const RunResult& result) {
  Transaction transaction(database);
  Statement(database,
            "UPDATE runs SET state = 'done', worker = NULL, finished = ?, log = ? "
            "WHERE id = ? AND state = 'running' AND worker = ?")
      .bind(unix_seconds())
      .bind(result.log)
      .bind(id)
      .bind(worker)
      .run();
  if (database.changes() == 0) return false;
  Statement(database, "DELETE FROM metrics WHERE run = ?").bind(id).run();
  Statement(database, "DELETE FROM documents WHERE run = ?").bind(id).run();
  for (const auto& [name, value] : result.metrics) {
    Statement(database, "INSERT INTO metrics VALUES(?, ?, ?)").bind(id).bind(name).bind(value).run();
  }
  for (const auto& [name, json] : result.documents) {
    Statement(database, "INSERT INTO documents VALUES(?, ?, ?)").bind(id).bind(name).bind(json).run();
  }
  transaction.commit();
  return true;
}

bool StoreConnection::fail(const std::string& id, int64_t worker, const std::string& error, const std::string& log) {
  Statement(database,
            "UPDATE runs SET state = 'failed', worker = NULL, finished = ?, error = ?, log = ? "
            "WHERE id = ? AND state = 'running' AND worker = ?")
      .bind(unix_seconds())
      .bind(error)
      .bind(log)
      .bind(id)
      .bind(worker)
      .run();
  return database.changes() == 1;
}

double StoreConnection::seconds_left() const {
  // How runs done compare with their estimates, and what those without one took.
  Statement done(database,
                 "SELECT sum(finished - started) / sum(estimate), avg(finished - started) FROM runs "
                 "WHERE state = 'done' AND source = 'mxq' AND superseded = 0 AND estimate > 0");
  const bool any = done.step() && done.number(0) > 0;
  const double ratio = any ? done.number(0) : 1, mean = any ? done.number(1) : 0;
  double left = 0;
  Statement rest(database,
                 "SELECT coalesce(estimate, 0), coalesce(started, 0), worker FROM runs "
                 "WHERE state IN ('queued', 'running') AND source = 'mxq' AND superseded = 0");
  const auto live = live_workers();
  while (rest.step()) {
    const double whole = rest.number(0) > 0 ? rest.number(0) * ratio : mean;
    const double since = live.contains(rest.integer(2)) ? unix_seconds() - rest.number(1) : 0;
    left += std::max(0.0, whole - since);
  }
  return left;
}

std::set<int64_t> StoreConnection::live_workers() const {
  std::set<int64_t> live;
  for (Statement all(database, "SELECT id, folder FROM workers"); all.step();) {
    if (!worker_ended(work_folder() / all.text(1))) live.insert(all.integer(0));
  }
  return live;
}

}  // namespace mxq
