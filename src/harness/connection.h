// What only the harness does with a store: its tables, who works on what.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "harness/sqlite.h"
#include "mxq/experiment.h"

namespace mxq {

class StoreConnection {
 public:
  StoreConnection(const std::filesystem::path& path, bool create);

  /// This process, as one that works on runs: it holds what it claims until it ends, however that is.
  int64_t register_worker();
  /// Runs of workers that are no more go back to the queue.
  void release_dead();
  /// Adds a run that is not there yet, brings labels up to date where it is.
  void enqueue(const std::string& id, const ExperimentRun& run);
  void retry(const std::string& id);
  std::optional<RunState> state(const std::string& id) const;
  /// Takes the run if it is queued. True: it is this worker's now.
  bool claim(const std::string& id, int64_t worker);
  void finish(const std::string& id, const std::map<std::string, double>& metrics,
              const std::map<std::string, std::string>& documents, const std::string& log);
  void fail(const std::string& id, const std::string& error, const std::string& log);
  int64_t count(RunState state) const;
  int64_t live_workers() const;
  double mean_seconds() const;

  std::filesystem::path path;
  Database database;
};

}  // namespace mxq
