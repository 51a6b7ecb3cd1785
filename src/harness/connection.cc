#include "harness/connection.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

#include "mxq/error.h"

namespace mxq {

namespace {

constexpr int64_t kVersion = 1;
/// Marks a SQLite file as one of ours: "mxqs".
constexpr int64_t kApplication = 0x6d787173;

constexpr const char* kTables = R"(
CREATE TABLE runs(
  id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, model TEXT NOT NULL, method TEXT NOT NULL, config TEXT NOT NULL,
  source TEXT NOT NULL, state TEXT NOT NULL CHECK(state IN ('queued', 'running', 'done', 'failed')),
  worker INTEGER, attempts INTEGER NOT NULL DEFAULT 0, started REAL, finished REAL, error TEXT, log TEXT) WITHOUT ROWID;
CREATE INDEX runs_by_state ON runs(state);
CREATE TABLE metrics(run TEXT NOT NULL REFERENCES runs(id), name TEXT NOT NULL, value REAL NOT NULL,
  PRIMARY KEY(run, name)) WITHOUT ROWID;
CREATE TABLE documents(run TEXT NOT NULL REFERENCES runs(id), name TEXT NOT NULL, json TEXT NOT NULL,
  PRIMARY KEY(run, name)) WITHOUT ROWID;
CREATE TABLE workers(id INTEGER PRIMARY KEY, process INTEGER NOT NULL, birth TEXT NOT NULL);
)";

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// What tells a process from a later one of the same number: the boot and its start within it. Empty where it has ended
/// or the system does not say.
std::string birth_of(int64_t process) {
  std::ifstream stat(fmt::format("/proc/{}/stat", process));
  std::string line;
  if (!std::getline(stat, line)) return {};
  // The name, in brackets, may hold anything; after it the state is field 3 and the start field 22.
  std::istringstream rest(line.substr(line.rfind(')') + 1));
  const std::vector<std::string> fields{std::istream_iterator<std::string>(rest), {}};
  constexpr size_t kState = 0, kStart = 19;
  if (fields.size() <= kStart || fields[kState] == "Z") return {};
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(boot, id);
  return id + " " + fields[kStart];
}

bool lives(int64_t process, const std::string& birth) {
#ifdef __linux__
  return birth == birth_of(process);
#else
  return ::kill(static_cast<pid_t>(process), 0) == 0;
#endif
}

int64_t pragma(const Database& database, const char* sql) {
  Statement statement(database, sql);
  return statement.step() ? statement.integer(0) : 0;
}

}  // namespace

StoreConnection::StoreConnection(const std::filesystem::path& path_, bool create)
    : path(path_), database(path_, create) {
  database.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
  if (create) {
    Transaction transaction(database);
    if (pragma(database, "SELECT count(*) FROM sqlite_master") == 0) {
      database.execute(kTables);
      database.execute(
          fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}", kApplication, kVersion).c_str());
    }
    transaction.commit();
  }
  const std::string operation = "open store " + path.string();
  if (pragma(database, "PRAGMA application_id") != kApplication) {
    throw Error(ErrorCode::invalid_file, operation, "a database of another program", "a store that mxq bench made");
  }
  if (const int64_t version = pragma(database, "PRAGMA user_version"); version != kVersion) {
    throw Error(ErrorCode::unsupported, operation, fmt::format("version {}", version), fmt::format("{}", kVersion));
  }
}

int64_t StoreConnection::register_worker() {
  const int64_t process = ::getpid();
  Statement(database, "INSERT INTO workers(process, birth) VALUES(?, ?)").bind(process).bind(birth_of(process)).run();
  return database.last_id();
}

void StoreConnection::release_dead() {
  Transaction transaction(database);
  std::vector<int64_t> dead;
  for (Statement all(database, "SELECT id, process, birth FROM workers"); all.step();) {
    if (!lives(all.integer(1), all.text(2))) dead.push_back(all.integer(0));
  }
  for (const int64_t worker : dead) {
    Statement(database, "UPDATE runs SET state = 'queued', worker = NULL WHERE state = 'running' AND worker = ?")
        .bind(worker)
        .run();
    Statement(database, "DELETE FROM workers WHERE id = ?").bind(worker).run();
  }
  transaction.commit();
}

void StoreConnection::enqueue(const std::string& id, const ExperimentRun& run) {
  Statement(database,
            "INSERT INTO runs(id, sequence, model, method, config, source, state) "
            "VALUES(?, (SELECT coalesce(max(sequence), 0) + 1 FROM runs), ?, ?, ?, 'mxq', 'queued') "
            "ON CONFLICT(id) DO UPDATE SET model = excluded.model, method = excluded.method, config = excluded.config")
      .bind(id)
      .bind(run.model)
      .bind(run.method)
      .bind(run.config)
      .run();
}

void StoreConnection::retry(const std::string& id) {
  Statement(database, "UPDATE runs SET state = 'queued' WHERE id = ? AND state = 'failed'").bind(id).run();
}

std::optional<RunState> StoreConnection::state(const std::string& id) const {
  Statement found(database, "SELECT state FROM runs WHERE id = ?");
  found.bind(id);
  if (!found.step()) return std::nullopt;
  for (const RunState state : {RunState::queued, RunState::running, RunState::done, RunState::failed}) {
    if (run_state_name(state) == found.text(0)) return state;
  }
  return std::nullopt;
}

bool StoreConnection::claim(const std::string& id, int64_t worker) {
  Statement(database,
            "UPDATE runs SET state = 'running', worker = ?, attempts = attempts + 1, started = ?, finished = NULL, "
            "error = NULL WHERE id = ? AND state = 'queued'")
      .bind(worker)
      .bind(now())
      .bind(id)
      .run();
  return database.changes() == 1;
}

void StoreConnection::finish(const std::string& id, const std::map<std::string, double>& metrics,
                             const std::map<std::string, std::string>& documents, const std::string& log) {
  Transaction transaction(database);
  Statement(database, "DELETE FROM metrics WHERE run = ?").bind(id).run();
  Statement(database, "DELETE FROM documents WHERE run = ?").bind(id).run();
  for (const auto& [name, value] : metrics) {
    Statement(database, "INSERT INTO metrics VALUES(?, ?, ?)").bind(id).bind(name).bind(value).run();
  }
  for (const auto& [name, json] : documents) {
    Statement(database, "INSERT INTO documents VALUES(?, ?, ?)").bind(id).bind(name).bind(json).run();
  }
  Statement(database, "UPDATE runs SET state = 'done', worker = NULL, finished = ?, log = ? WHERE id = ?")
      .bind(now())
      .bind(log)
      .bind(id)
      .run();
  transaction.commit();
}

void StoreConnection::fail(const std::string& id, const std::string& error, const std::string& log) {
  Statement(database, "UPDATE runs SET state = 'failed', worker = NULL, finished = ?, error = ?, log = ? WHERE id = ?")
      .bind(now())
      .bind(error)
      .bind(log)
      .bind(id)
      .run();
}

int64_t StoreConnection::count(RunState state) const {
  Statement counted(database, "SELECT count(*) FROM runs WHERE state = ?");
  counted.bind(run_state_name(state)).step();
  return counted.integer(0);
}

int64_t StoreConnection::live_workers() const {
  int64_t count = 0;
  for (Statement all(database, "SELECT process, birth FROM workers"); all.step();) {
    count += lives(all.integer(0), all.text(1));
  }
  return count;
}

double StoreConnection::mean_seconds() const {
  Statement mean(database, "SELECT avg(finished - started) FROM runs WHERE state = 'done' AND source = 'mxq'");
  return mean.step() ? mean.number(0) : 0;
}

}  // namespace mxq
