// Experiments: models by methods by budgets, quantized and scored one after the other, in a store that survives.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mxq/forecast.h"
#include "mxq/method.h"
#include "mxq/output.h"
#include "mxq/progress.h"

namespace mxq {

/// What an experiment's results are kept in, and what ResultStore::export_csv() gives.
inline constexpr FileKind kStoreFile{"a store", {"SQLite format 3\0", 16}};
inline constexpr FileKind kResultsFile{"results",
                                       "model,algo,config,bpp,attempt,ppl_wikitext,ppl_c4,load_mem_allot,"
                                       "model_storage_size,quant_duration,param_count,source,id,version,"};

/// One result to be: a model, what is done to it, and what is looked at then.
struct ExperimentRun {
  std::string model, method;     // as the experiment calls them
  std::string config;            // the method's scheme or budget: "b4g64", "3.25", "64MiB"; empty where it has none
  std::string id;                // of its content, once identify() has told it
  std::filesystem::path folder;  // where its steps run: what is relative in their arguments begins there
  std::filesystem::path model_path;
  bool original = false;              // nothing is quantized
  std::vector<std::string> quantize;  // arguments of `mxq quantize` beside model and output
  MethodRequest request;              // what they ask for
  std::optional<double> seconds;      // that all of it takes, where someone has estimated that

  struct Scoring {
    std::string name;                // of the text; "self" for text that the model samples
    bool against_original = false;   // KL divergence too
    std::vector<std::string> flags;  // arguments of `mxq eval`
    std::filesystem::path text;      // empty for self
    /// The original's logits are kept for the runs to come, by each worker while it works. Results are the same.
    bool base_logits = false;
  };
  std::vector<Scoring> scorings;

  struct Command {
    std::string name;
    /// {checkpoint}: what was quantized, {plain}: that as safetensors for others, {model}: the original.
    std::vector<std::string> arguments;
  };
  std::vector<Command> commands;

  /// "SmolLM2 hqq b4g64".
  std::string label() const;
};

struct Experiment {
  std::filesystem::path store;  // empty where the spec names none
  std::vector<ExperimentRun> runs;
};

/// Reads a spec (docs/reference/bench.md). Paths in it are relative to its folder. Throws Error(not_found), and
/// Error(usage) naming the line for what is no TOML, for unknown keys (with the nearest known one), names and values of
/// options, for models, texts and programs that do not exist and for runs that are there twice.
Experiment read_experiment(const std::filesystem::path& spec);

/// Gives runs that have none their ids: of this version of mxq, the model's bytes, what is done, the texts' bytes and
/// those of files that arguments name. Reads all of these. Throws Error(io), and Error(usage) where two runs are the
/// same but for their names.
void identify(Experiment& experiment);

/// What a run will take, each of its steps in a process of its own: mxq/forecast.h. From the sizes of model and texts
/// and the method; reads no weights. Throws what reading the model's headers throws.
Forecast estimate_run(const ExperimentRun& run);

/// What there is for a run whose files go beside the store.
Room room_beside(const std::filesystem::path& store);
/// Throws Error(infeasible) where the run needs more.
void check_room(const ExperimentRun& run, const Forecast& needs, const Room& room);

enum class RunState { queued, running, done, failed };
/// "queued", "running", "done", "failed".
std::string_view run_state_name(RunState state);

/// One row of a store.
struct StoredRun {
  std::string id;                             // of its content: model, method, settings and version
  std::string attempt;                        // of an imported one, with which its method ends; may be empty
  std::string version;                        // of mxq, that did it
  bool superseded = false;                    // a later run has its labels
  std::string model, method, config, source;  // source: "mxq", or where it was imported from
  RunState state = RunState::queued;
  int64_t attempts = 0;
  double started = 0, finished = 0;  // seconds since 1970; 0: not yet
  std::string error;                 // of a failed one: its last line
  std::map<std::string, double> metrics;

  /// As ExperimentRun::label().
  std::string label() const;
};

/// Results of others, of the authors' form, or what export_csv() gave, with its states and metrics. Throws
/// Error(invalid_file) naming line and column.
std::vector<StoredRun> read_results(const std::string& csv, const std::string& source);

struct ExperimentStatus {
  int64_t queued = 0, running = 0, done = 0, failed = 0, workers = 0;
  double mean_seconds = 0;  // of runs done; 0: none yet
  /// For what is queued and running, with the workers at hand: from estimates, and how runs done compare with theirs.
  /// 0: nothing is left, or nobody works.
  double eta_seconds = 0;
};

class StoreConnection;

/// Where runs and their results are kept: one SQLite file (WAL), which several processes may use at once. Whatever is
/// killed, finished results stay. All throw Error(invalid_file) for a file that is no store or is damaged,
/// Error(unsupported) for one of another version, Error(io) for what the system refuses and for a store that stays
/// locked.
class ResultStore {
 public:
  /// Made where there is none.
  static ResultStore create(const std::filesystem::path& path);
  /// For reading. Throws Error(not_found) where there is none.
  static ResultStore open(const std::filesystem::path& path);
  ~ResultStore();
  ResultStore(ResultStore&&) noexcept;

  /// In the order in which they were queued last (their spec's), without superseded ones unless `all`. What a killed
  /// process left running is queued.
  std::vector<StoredRun> runs(bool all = false) const;
  /// nullopt where it is not there. What a killed process left running is queued.
  std::optional<RunState> state(const std::string& id) const;
  /// Of mxq's own runs.
  ExperimentStatus status() const;
  /// What its steps were and what they said; empty where there is none.
  std::string log(const std::string& id) const;

  /// A row a run: the columns of the authors' combined.csv first, then all others that any run has; of superseded runs
  /// too where `all`.
  std::string export_csv(bool all = false) const;
  /// Adds what read_results() gave. Rows that are there already are left. Returns how many are new.
  int64_t add(const std::vector<StoredRun>& results);

 private:
  friend class ExperimentWorker;
  explicit ResultStore(std::unique_ptr<StoreConnection> connection);
  std::unique_ptr<StoreConnection> connection_;
};

struct WorkOptions {
  std::filesystem::path program;   // mxq itself
  std::vector<std::string> flags;  // of every command: --threads
  bool retry = false;              // also what has failed
  /// Told when the store cannot be written: who calls waits until it can, whatever has been computed is not lost.
  std::function<void(const std::string&)> on_wait;
};

struct WorkReport {
  int64_t done = 0, failed = 0;  // by this call
  int64_t known = 0;             // done before
  int64_t failed_before = 0;     // and not tried again
  int64_t elsewhere = 0;         // being done by other processes
  double seconds = 0;
  std::vector<StoredRun> failures;  // those of the experiment's runs that are failed now, whoever did them
};

/// Queues what the store does not have, then does what is queued, run by run, each step in a process of its own. A run
/// that fails is kept with its error and log; the others go on. Runs that a killed process left are done again. Several
/// processes may do this at once. Progress: runs. Throws what identify() throws.
WorkReport work_on(Experiment& experiment, ResultStore& store, const WorkOptions& options,
                   Progress* progress = nullptr);

}  // namespace mxq
