// What only the harness does with a store: its tables, who works on what.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "harness/sqlite.h"
#include "harness/worker_folder.h"
#include "mxq/experiment.h"

namespace mxq {

/// What came of a run.
struct RunResult {
  std::map<std::string, double> metrics;
  std::map<std::string, std::string> documents;  // JSON that its steps printed
  std::string log;
};

/// Now, in seconds since 1970.
double unix_seconds();

std::optional<RunState> find_run_state(std::string_view name);
/// Throws Error(invalid_file) naming the store for anything else than the name of a state.
RunState parse_run_state(const std::string& name, const std::filesystem::path& store);

class StoreConnection {
 public:
  StoreConnection(const std::filesystem::path& path, Access access);

  /// Whoever holds `folder` holds what it claims, until it ends, however that is.
  int64_t register_worker(const WorkerFolder& folder);
  void dismiss_worker(int64_t worker);
  /// Runs of workers that are no more go back to the queue, and what they had written is removed.
  void release_dead();
  /// Adds a run that is not there yet, brings labels up to date where it is. Other runs of these labels are superseded:
  /// the spec asks for something else by these names now.
  void enqueue(const std::string& id, const ExperimentRun& run);
  void retry(const std::string& id);
  std::optional<RunState> state(const std::string& id) const;
  /// Takes the run if it is queued. True: it is this worker's now.
  bool claim(const std::string& id, int64_t worker);
  /// Both return false, and change nothing, where the run is no longer this worker's.
  bool finish(const std::string& id, int64_t worker, const RunResult& result);
  bool fail(const std::string& id, int64_t worker, const std::string& error, const std::string& log);
  /// Seconds that the runs left will take one after the other.
  double seconds_left() const;
  /// Workers that have not ended, by their numbers.
  std::set<int64_t> live_workers() const;
  /// Where workers have their folders.
  std::filesystem::path work_folder() const { return path.string() + ".work"; }

  std::filesystem::path path;
  Database database;

 private:
  void make_tables();
  void check_ours() const;
};

}  // namespace mxq
