#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "cli/commands.h"
#include "cli/option_modes.h"
#include "cli/standard_streams.h"
#include "mxq/error.h"
#include "mxq/experiment.h"
#include "mxq/files.h"
#include "mxq/output.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string spec, store, output, csv;
  std::vector<std::string> run;
  bool retry = false, dry_run = false, all = false;
};

std::filesystem::path store_of(const Options& options, const Experiment& experiment) {
  if (!options.store.empty()) return options.store;
  if (!experiment.store.empty()) return experiment.store;
  return std::filesystem::path(options.spec).replace_extension(".db");
}

/// SPEC or STORE: a .toml names its store.
std::filesystem::path store_named(const Options& options) {
  if (!options.spec.ends_with(".toml")) {
    if (options.store.empty()) return options.spec;
    throw Error(ErrorCode::usage, "bench", fmt::format("--store {} beside the store {}", options.store, options.spec),
                "one of the two: --store is for the results of a SPEC.toml");
  }
  return store_of(options, read_experiment(options.spec));
}

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(std::min(seconds, 1e15) + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
  return fmt::format("{}:{:02} h", whole / 3600, whole % 3600 / 60);
}

/// What the store has not: what is not done, and of what failed only what is tried again.
std::vector<ExperimentRun*> runs_to_do(Experiment& experiment, const std::filesystem::path& path, bool retry) {
  std::optional<ResultStore> store;
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) {
    store.emplace(ResultStore::open(path));
    identify(experiment);
  }
  std::vector<ExperimentRun*> found;
  for (ExperimentRun& run : experiment.runs) {
    const auto state = store ? store->state(run.id) : std::nullopt;
    if (state == RunState::done || (state == RunState::failed && !retry)) continue;
    found.push_back(&run);
  }
  return found;
}

/// What all runs take; gives each its seconds. Throws Error(infeasible) for the first that cannot fit. A run without a
/// forecast fails when its turn comes, and says why in the results.
Forecast preflight(const std::vector<ExperimentRun*>& runs, const std::filesystem::path& store, bool print) {
  Forecast all;
  const Room room = room_beside(store);
  if (print) put("{:40} {:>10} {:>11} {:>11}\n", "run", "time", "memory", "disk");
  for (ExperimentRun* run : runs) {
    Forecast estimate;
    try {
      estimate = estimate_run(*run);
    } catch (const Error& error) {
      if (print) {
        put("{:40} {}\n", run->label(), error.what());
      } else {
        spdlog::warn("run '{}': {}", run->label(), error.what());
      }
      continue;
    }
    if (print) {
      put("{:40} {:>10} {:>11} {:>11}\n", run->label(), duration(estimate.seconds), format_size(estimate.memory_bytes),
          format_size(estimate.disk_bytes));
    }
    check_room(*run, estimate, room);
    run->seconds = estimate.seconds;
    all.seconds += estimate.seconds;
    all.memory_bytes = std::max(all.memory_bytes, estimate.memory_bytes);
    all.disk_bytes = std::max(all.disk_bytes, estimate.disk_bytes);
  }
  return all;
}

void print_plan(const Experiment& experiment, size_t to_do, const Forecast& estimate, bool json) {
  if (json) {
    put_json(nlohmann::ordered_json{{"runs", to_do},
                                    {"known", experiment.runs.size() - to_do},
                                    {"seconds", estimate.seconds},
                                    {"memory_bytes", estimate.memory_bytes},
                                    {"disk_bytes", estimate.disk_bytes}});
    return;
  }
  put("{} runs to do, {} done or failed before; {} in all; memory and disk of the largest: {}, {}\n", to_do,
      experiment.runs.size() - to_do, duration(estimate.seconds), format_size(estimate.memory_bytes),
      format_size(estimate.disk_bytes));
}

void print_report(const Experiment& experiment, const std::filesystem::path& store, const WorkReport& report,
                  bool json) {
  if (json) {
    put_json(nlohmann::ordered_json{{"store", store.string()},
                                    {"done", report.done},
                                    {"failed", report.failed},
                                    {"known", report.known},
                                    {"failed_before", report.failed_before},
                                    {"elsewhere", report.elsewhere},
                                    {"seconds", report.seconds}});
  } else {
    put("{} runs: {} done now in {}, {} done before; {} failed now, {} failed before; {} in other processes\n"
        "results    {}\n",
        experiment.runs.size(), report.done, duration(report.seconds), report.known, report.failed,
        report.failed_before, report.elsewhere, store.string());
  }
  for (const StoredRun& failed : report.failures) spdlog::warn("failed: {}: {}", failed.label(), failed.error);
}

/// What the experiment reads.
InputPaths inputs_of(const Options& options, const Experiment& experiment) {
  InputPaths inputs{{"the spec", options.spec}};
  for (const ExperimentRun& run : experiment.runs) {
    inputs.push_back({"the model", run.model_path});
    for (const auto& scoring : run.scorings) inputs.push_back({"the text", scoring.text});
  }
  return inputs;
}

/// Throws Error(io) where runs have failed in the end.
void run(const Options& options, const CommonOptions& common) {
  Experiment experiment = read_experiment(options.spec);
  const auto path = store_of(options, experiment);
  OutputFile(path, kStoreFile, inputs_of(options, experiment));
  const auto to_do = runs_to_do(experiment, path, options.retry);
  const Forecast estimate = preflight(to_do, path, options.dry_run && !common.json);
  if (options.dry_run) return print_plan(experiment, to_do.size(), estimate, common.json);
  ResultStore store = ResultStore::create(path);
  WorkOptions work;
  work.program = program_path();
  work.retry = options.retry;
  work.on_wait = [](const std::string& why) { spdlog::warn("{}", why); };
  if (common.threads > 0) work.flags = {"--threads", fmt::format("{}", common.threads)};
  const WorkReport report = work_on(experiment, store, work, common.progress().get());
  print_report(experiment, path, report, common.json);
  if (report.failures.empty()) return;
  throw Error(ErrorCode::io, "bench",
              fmt::format("{} of {} runs failed (bench log STORE RUN shows why, bench SPEC --retry does them again)",
                          report.failures.size(), experiment.runs.size()));
}

void print_status(const Options& options, const CommonOptions& common) {
  const ResultStore store = ResultStore::open(store_named(options));
  const ExperimentStatus status = store.status();
  if (common.json) {
    put_json(nlohmann::ordered_json{{"queued", status.queued},
                                    {"running", status.running},
                                    {"done", status.done},
                                    {"failed", status.failed},
                                    {"workers", status.workers},
                                    {"mean_seconds", status.mean_seconds},
                                    {"eta_seconds", status.eta_seconds}});
    return;
  }
  for (const StoredRun& run : store.runs()) {
    if (run.source != "mxq") continue;
    const std::string took = run.finished > run.started ? duration(run.finished - run.started) : "";
    put("{:8} {:>10}  {}{}{}\n", run_state_name(run.state), took, run.label(), run.error.empty() ? "" : ": ",
        run.error);
  }
  put("{} done, {} running, {} queued, {} failed; {} workers{}\n", status.done, status.running, status.queued,
      status.failed, status.workers, status.eta_seconds > 0 ? ", " + duration(status.eta_seconds) + " to go" : "");
}

/// The run of this name, or of an id that begins so.
void print_log(const Options& options) {
  const ResultStore store = ResultStore::open(store_named(options));
  const std::string name = fmt::format("{}", fmt::join(options.run, " "));
  std::vector<StoredRun> found;
  for (StoredRun& run : store.runs(true)) {
    if ((run.label() == name && !run.superseded) || run.id.starts_with(name)) found.push_back(std::move(run));
  }
  if (found.size() != 1) {
    throw Error(found.empty() ? ErrorCode::not_found : ErrorCode::usage, "bench log",
                fmt::format("{} runs '{}'", found.empty() ? "no" : fmt::format("{}", found.size()), name),
                "one run's name as bench status shows it, or its id as bench export has it");
  }
  put("{}: {}{}{}\n{}", found[0].label(), run_state_name(found[0].state), found[0].error.empty() ? "" : ": ",
      found[0].error, store.log(found[0].id));
}

}  // namespace

void add_bench(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* bench = app.add_subcommand(
      "bench", "run an experiment: models by methods by budgets, from a spec; resumes where it was stopped");
  bench->require_subcommand(0, 1);
  bench->add_option("SPEC", options->spec, "the experiment as TOML (docs/reference/bench.md)");
  bench->add_option("--store", options->store, "file that keeps the results (default: the spec's, or SPEC with .db)")
      ->type_name("FILE");
  bench->add_flag("--retry", options->retry, "do runs again that failed");
  bench->add_flag("--dry-run", options->dry_run,
                  "say only what would be done, and the time, memory and disk that it takes");
  bench->callback([options, bench, &common] {
    if (!bench->get_subcommands().empty()) return;
    if (options->spec.empty()) throw Error(ErrorCode::usage, "bench", "no spec", "mxq bench SPEC.toml");
    refuse_unused(*bench, options->dry_run ? Mode::bench_dry_run : Mode::bench_run);
    run(*options, common);
  });
  auto* status = bench->add_subcommand("status", "list the runs: done, running, queued and failed");
  status->add_option("STORE", options->spec, "store, or spec that names it")->required();
  status->callback([options, status, &common] {
    refuse_unused(*status, Mode::bench_status);
    print_status(*options, common);
  });
  auto* log = bench->add_subcommand("log", "print a run's steps, and what they said");
  log->add_option("STORE", options->spec, "store, or spec that names it")->required();
  log->add_option("RUN", options->run, "name of the run as status shows it, or its id as export has it")->required();
  log->callback([options, log] {
    refuse_unused(*log, Mode::bench_log);
    print_log(*options);
  });
  auto* exported =
      bench->add_subcommand("export", "write results as CSV: a row for each run, the authors' columns first");
  exported->add_option("STORE", options->spec, "store, or spec that names it")->required();
  exported->add_option("-o,--output", options->output, "the CSV (default: standard output)")->type_name("FILE");
  exported->add_flag("--all", options->all, "export also runs that later ones have replaced");
  exported->callback([options, exported] {
    refuse_unused(*exported, Mode::bench_export);
    const auto path = store_named(*options);
    std::optional<OutputFile> output;
    if (!options->output.empty()) {
      output.emplace(options->output, kResultsFile, InputPaths{{"the store", path}, {"the spec", options->spec}});
    }
    const std::string csv = ResultStore::open(path).export_csv(options->all);
    output ? output->write(csv) : put_data(csv);
  });
  auto* imported = bench->add_subcommand("import", "add results of others, in the form of the authors' combined.csv");
  imported->add_option("STORE", options->spec, "store; made where there is none")->required();
  imported->add_option("CSV", options->csv, "columns model, algo, config, bpp, ppl_wikitext, ...")->required();
  imported->callback([options, imported] {
    refuse_unused(*imported, Mode::bench_import);
    OutputFile(options->spec, kStoreFile, {{"the results", options->csv}});
    const std::string source = std::filesystem::path(options->csv).filename().string();
    const auto results = read_results(read_file(options->csv), source);  // before a store is made
    put("{} results imported from {}\n", ResultStore::create(options->spec).add(results), options->csv);
  });
}

}  // namespace mxq::cli
