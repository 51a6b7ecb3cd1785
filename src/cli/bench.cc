#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "mxq/error.h"
#include "mxq/experiment.h"
#include "mxq/files.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string spec, store, output, csv;
  bool retry = false, dry_run = false, all = false;
};

std::filesystem::path store_of(const Options& options, const Experiment& experiment) {
  if (!options.store.empty()) return options.store;
  if (!experiment.store.empty()) return experiment.store;
  return std::filesystem::path(options.spec).replace_extension(".db");
}

/// SPEC or STORE: a .toml names its store.
std::filesystem::path store_named(const Options& options) {
  if (!options.spec.ends_with(".toml")) return options.spec;
  return store_of(options, read_experiment(options.spec));
}

std::string duration(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
  return fmt::format("{}:{:02} h", whole / 3600, whole % 3600 / 60);
}

/// Throws Error(infeasible) for the first run that cannot fit.
RunEstimate preflight(const Experiment& experiment, const std::filesystem::path& store, bool print) {
  RunEstimate all;
  std::error_code ignored;
  const auto folder = std::filesystem::absolute(store).parent_path();
  const auto space = std::filesystem::space(folder, ignored);
  const int64_t memory = total_memory_bytes();
  if (print) fmt::print("{:40} {:>10} {:>11} {:>11}\n", "run", "time", "memory", "disk");
  for (const ExperimentRun& run : experiment.runs) {
    const RunEstimate estimate = estimate_run(run);
    if (print) {
      fmt::print("{:40} {:>10} {:>11} {:>11}\n", run.label(), duration(estimate.seconds),
                 format_size(estimate.memory_bytes), format_size(estimate.disk_bytes));
    }
    if (memory > 0 && estimate.memory_bytes > memory) {
      throw Error(ErrorCode::infeasible, "bench",
                  fmt::format("run '{}' needs about {} of memory", run.label(), format_size(estimate.memory_bytes)),
                  fmt::format("this machine has {}", format_size(memory)));
    }
    if (!ignored && estimate.disk_bytes > static_cast<int64_t>(space.available)) {
      throw Error(ErrorCode::infeasible, "bench",
                  fmt::format("run '{}' needs about {} of disk", run.label(), format_size(estimate.disk_bytes)),
                  fmt::format("{} has {} left", folder.string(), format_size(static_cast<int64_t>(space.available))));
    }
    all.seconds += estimate.seconds;
    all.memory_bytes = std::max(all.memory_bytes, estimate.memory_bytes);
    all.disk_bytes = std::max(all.disk_bytes, estimate.disk_bytes);
  }
  return all;
}

void run(const Options& options, const CommonOptions& common) {
  const Experiment experiment = read_experiment(options.spec);
  const auto path = store_of(options, experiment);
  const RunEstimate estimate = preflight(experiment, path, options.dry_run && !common.json);
  if (options.dry_run) {
    if (common.json) {
      fmt::print("{}\n", nlohmann::ordered_json{{"runs", experiment.runs.size()},
                                                {"seconds", estimate.seconds},
                                                {"memory_bytes", estimate.memory_bytes},
                                                {"disk_bytes", estimate.disk_bytes}}
                             .dump(2));
    } else {
      fmt::print("{} runs, {} in all; memory and disk of the largest: {}, {}\n", experiment.runs.size(),
                 duration(estimate.seconds), format_size(estimate.memory_bytes), format_size(estimate.disk_bytes));
    }
    return;
  }
  ResultStore store = ResultStore::create(path);
  WorkOptions work;
  work.program = program_path();
  work.retry = options.retry;
  work.on_wait = [](const std::string& why) { spdlog::warn("{}", why); };
  if (common.threads > 0) work.flags = {"--threads", fmt::format("{}", common.threads)};
  const WorkReport report = work_on(experiment, store, work, common.progress().get());
  if (common.json) {
    fmt::print("{}\n", nlohmann::ordered_json{{"store", path.string()},
                                              {"done", report.done},
                                              {"failed", report.failed},
                                              {"known", report.known},
                                              {"elsewhere", report.elsewhere},
                                              {"seconds", report.seconds}}
                           .dump(2));
  } else {
    fmt::print("{} runs: {} done now in {}, {} known before, {} failed, {} in other processes\nresults    {}\n",
               experiment.runs.size(), report.done, duration(report.seconds), report.known, report.failed,
               report.elsewhere, path.string());
  }
  for (const StoredRun& failed : store.runs()) {
    if (failed.state == RunState::failed) {
      spdlog::warn("failed: {} {} {}: {}", failed.model, failed.method, failed.config, failed.error);
    }
  }
}

void print_status(const Options& options, const CommonOptions& common) {
  const ResultStore store = ResultStore::open(store_named(options));
  const ExperimentStatus status = store.status();
  if (common.json) {
    fmt::print("{}\n", nlohmann::ordered_json{{"queued", status.queued},
                                              {"running", status.running},
                                              {"done", status.done},
                                              {"failed", status.failed},
                                              {"workers", status.workers},
                                              {"mean_seconds", status.mean_seconds},
                                              {"eta_seconds", status.eta_seconds}}
                           .dump(2));
    return;
  }
  for (const StoredRun& run : store.runs()) {
    if (run.source != "mxq") continue;
    const std::string took = run.finished > run.started ? duration(run.finished - run.started) : "";
    fmt::print("{:8} {:>10}  {} {} {}{}{}\n", run_state_name(run.state), took, run.model, run.method, run.config,
               run.error.empty() ? "" : ": ", run.error);
  }
  fmt::print("{} done, {} running, {} queued, {} failed; {} workers{}\n", status.done, status.running, status.queued,
             status.failed, status.workers,
             status.eta_seconds > 0 ? ", " + duration(status.eta_seconds) + " to go" : "");
}

}  // namespace

void add_bench(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* bench = app.add_subcommand("bench", "models by methods by budgets, from a spec; resumes where it was stopped");
  bench->require_subcommand(0, 1);
  bench->add_option("SPEC", options->spec, "the experiment as TOML (docs/bench.md)");
  bench->add_option("--store", options->store, "where results are kept (default: the spec's, or SPEC with .db)")
      ->type_name("FILE");
  bench->add_flag("--retry", options->retry, "also do again what has failed");
  bench->add_flag("--dry-run", options->dry_run, "only say what would be done, and what it takes");
  bench->callback([options, bench, &common] {
    if (!bench->get_subcommands().empty()) return;
    if (options->spec.empty()) throw Error(ErrorCode::usage, "bench", "no spec", "mxq bench SPEC.toml");
    run(*options, common);
  });
  auto* status = bench->add_subcommand("status", "what is done, running, queued and failed");
  status->add_option("STORE", options->spec, "store, or spec that names it")->required();
  status->callback([options, &common] { print_status(*options, common); });
  auto* exported = bench->add_subcommand("export", "results as CSV, a row a run; the authors' columns first");
  exported->add_option("STORE", options->spec, "store, or spec that names it")->required();
  exported->add_option("-o,--output", options->output, "the CSV (default: standard output)")->type_name("FILE");
  exported->add_flag("--all", options->all, "also runs that others have taken the place of");
  exported->callback([options] {
    const std::string csv = ResultStore::open(store_named(*options)).export_csv(options->all);
    if (options->output.empty()) {
      fmt::print("{}", csv);
    } else {
      write_file(options->output, csv);
    }
  });
  auto* imported = bench->add_subcommand("import", "results of others, in the form of the authors' combined.csv");
  imported->add_option("STORE", options->spec, "store, made where there is none")->required();
  imported->add_option("CSV", options->csv, "columns model, algo, config, bpp, ppl_wikitext, ...")->required();
  imported->callback([options] {
    ResultStore store = ResultStore::create(options->spec);
    const std::string source = std::filesystem::path(options->csv).filename().string();
    fmt::print("{} results imported from {}\n", store.import_csv(read_file(options->csv), source), options->csv);
  });
}

}  // namespace mxq::cli
