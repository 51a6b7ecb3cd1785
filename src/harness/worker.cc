// Doing an experiment's runs.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <map>
#include <system_error>
#include <thread>
#include <type_traits>

#include "base/stopwatch.h"
#include "harness/connection.h"
#include "harness/run_id.h"
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
  ExperimentWorker(const Experiment& experiment, ResultStore& store, const WorkOptions& options)
      : experiment_(experiment),
        store_(*store.connection_),
        options_(options),
        folder_(store_.work_folder()),
        number_(store_.register_worker(folder_)) {}

  WorkReport work(Progress& progress) {
    const Stopwatch watch;
    WorkReport report;
    queue(report);
    progress.begin("runs", std::ssize(experiment_.runs) - report.known);
    // Again, for what others left when they were killed meanwhile.
    for (bool found = true; found;) {
      found = false;
      patiently([&] { store_.release_dead(); });
      for (size_t i = 0; i < ids_.size(); ++i) {
        if (!patiently([&] { return store_.claim(ids_[i], number_); })) continue;
        found = true;
        do_run(experiment_.runs[i], ids_[i], report);
        progress.update(report.done + report.failed);
      }
    }
    progress.end();
    for (const auto& id : ids_) report.elsewhere += store_.state(id) == RunState::running;
    patiently([&] { store_.dismiss_worker(number_); });
    report.seconds = watch.seconds();
    return report;
  }

 private:
  void queue(WorkReport& report) {
    RunIdentifier identifier;
    std::map<std::string, const ExperimentRun*> owners;
    for (const ExperimentRun& run : experiment_.runs) {
      ids_.push_back(identifier.id(run));
      const auto [owner, fresh] = owners.emplace(ids_.back(), &run);
      if (!fresh) {
        throw Error(ErrorCode::usage, "bench",
                    fmt::format("runs '{}' and '{}' are the same", owner->second->label(), run.label()), "each once");
      }
    }
    Transaction transaction(store_.database);
    for (size_t i = 0; i < ids_.size(); ++i) {
      store_.enqueue(ids_[i], experiment_.runs[i]);
      if (options_.retry) store_.retry(ids_[i]);
      report.known += store_.state(ids_[i]) == RunState::done;
    }
    transaction.commit();
  }

  void do_run(const ExperimentRun& run, const std::string& id, WorkReport& report) {
    RunResult result;
    std::string error;
    try {
      const Scratch scratch(folder_.path() / id);
      Steps(run, options_, scratch.path(), result).go();
    } catch (const std::exception& e) {
      error = e.what();
    }
    if (error.empty()) {
      report.done += patiently([&] { return store_.finish(id, number_, result); });
    } else {
      report.failed += patiently([&] { return store_.fail(id, number_, error, result.log); });
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

  const Experiment& experiment_;
  StoreConnection& store_;
  const WorkOptions& options_;
  WorkerFolder folder_;
  int64_t number_;
  std::vector<std::string> ids_;
};

WorkReport work_on(const Experiment& experiment, ResultStore& store, const WorkOptions& options, Progress* progress) {
  return ExperimentWorker(experiment, store, options).work(or_silent(progress));
}

}  // namespace mxq
