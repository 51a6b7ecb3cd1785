// Doing an experiment's runs.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <type_traits>

#include "base/stopwatch.h"
#include "harness/connection.h"
#include "harness/steps.h"
#include "mxq/error.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;

/// Between two attempts to write what the store has no place for.
constexpr auto kFirstPause = std::chrono::milliseconds(100), kLongestPause = std::chrono::milliseconds(5000);

/// A folder for what a run writes, gone with it.
class Scratch {
 public:
  explicit Scratch(fs::path folder) : folder_(std::move(folder)) {
    std::error_code error;
    fs::create_directory(folder_, error);
    if (error) throw Error(ErrorCode::io, "make " + folder_.string(), error.message());
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& path() const { return folder_; }

 private:
  fs::path folder_;
};

}  // namespace

/// One process's share of an experiment.
class ExperimentWorker {
 public:
  ExperimentWorker(Experiment& experiment, ResultStore& store, const WorkOptions& options)
      : experiment_(experiment),
        results_(store),
        store_(*store.connection_),
        options_(options),
        folder_(store_.work_folder()),
        number_(store_.register_worker(folder_)) {}

  WorkReport work(Progress& progress) {
    const Stopwatch watch;
    WorkReport report;
    queue(report);
    progress.begin("runs", std::ssize(experiment_.runs) - report.known - report.failed_before);
    // Again, for what others left when they were killed meanwhile.
    for (bool found = true; found;) {
      found = false;
      patiently([&] { store_.release_dead(); });
      for (const ExperimentRun& run : experiment_.runs) {
        if (!patiently([&] { return store_.claim(run.id, number_); })) continue;
        found = true;
        do_run(run, report);
        progress.update(report.done + report.failed);
      }
    }
    progress.end();
    patiently([&] { store_.dismiss_worker(number_); });
    conclude(report);
    report.seconds = watch.seconds();
    return report;
  }

 private:
  void queue(WorkReport& report) {
    identify(experiment_);
    Transaction transaction(store_.database);
    for (const ExperimentRun& run : experiment_.runs) {
      store_.enqueue(run.id, run);
      if (options_.retry) store_.retry(run.id);
      const auto state = store_.state(run.id);
      report.known += state == RunState::done;
      report.failed_before += state == RunState::failed;
    }
    transaction.commit();
  }

  /// How the experiment's runs stand in the end.
  void conclude(WorkReport& report) const {
    std::set<std::string> ids;
    for (const ExperimentRun& run : experiment_.runs) ids.insert(run.id);
    for (StoredRun& run : results_.runs()) {
      if (!ids.contains(run.id)) continue;
      report.elsewhere += run.state == RunState::running;
      if (run.state == RunState::failed) report.failures.push_back(std::move(run));
    }
  }

  void do_run(const ExperimentRun& run, WorkReport& report) {
    RunResult result;
    std::string error;
    try {
      const Scratch scratch(folder_.path() / run.id);
      Steps(run, options_, scratch.path(), folder_.path(), result).go();
    } catch (const std::exception& e) {
      error = e.what();
    }
    if (error.empty()) {
      report.done += patiently([&] { return store_.finish(run.id, number_, result); });
    } else {
      report.failed += patiently([&] { return store_.fail(run.id, number_, error, result.log); });
    }
  }

  /// Does what writes to the store, again and again while that is locked or its disk full: what has been computed until
  /// then would be lost.
  template <typename Write>
  std::invoke_result_t<Write> patiently(const Write& write) const {
    bool told = false;
    for (auto pause = kFirstPause;; pause = std::min(2 * pause, kLongestPause)) {
      try {
        return write();
      } catch (const StoreUnavailable& e) {
        if (!told && options_.on_wait) options_.on_wait(fmt::format("{}; waiting until it can be written", e.what()));
        told = true;
        std::this_thread::sleep_for(pause);
      }
    }
  }

  Experiment& experiment_;
  const ResultStore& results_;
  StoreConnection& store_;
  const WorkOptions& options_;
  WorkerFolder folder_;
  int64_t number_;
};

WorkReport work_on(Experiment& experiment, ResultStore& store, const WorkOptions& options, Progress* progress) {
  return ExperimentWorker(experiment, store, options).work(or_silent(progress));
}

}  // namespace mxq
