// Doing an experiment's runs.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/stopwatch.h"
#include "harness/child.h"
#include "harness/connection.h"
#include "harness/run_id.h"
#include "mxq/error.h"

namespace mxq {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// A folder for what a run writes, gone with it.
class Scratch {
 public:
  explicit Scratch(fs::path folder) : folder_(std::move(folder)) {
    std::error_code error;
    fs::remove_all(folder_, error);  // of a run that was killed
    fs::create_directories(folder_, error);
    if (error) throw Error(ErrorCode::io, "make " + folder_.string(), error.message());
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    fs::remove(folder_.parent_path(), ignored);  // if no other run is in it
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& path() const { return folder_; }

 private:
  fs::path folder_;
};

std::string last_line(const std::string& text) {
  const auto end = text.find_last_not_of("\n ");
  if (end == std::string::npos) return {};
  const auto begin = text.rfind('\n', end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

/// One run, step by step.
class Steps {
 public:
  Steps(const ExperimentRun& run, const WorkOptions& options, const fs::path& scratch)
      : run_(run), options_(options), scratch_(scratch), checkpoint_(run.original ? run.model_path : scratch / "out") {}

  void go() {
    run_.original ? inspect() : quantize();
    for (const auto& scoring : run_.scorings) score(scoring);
    for (const auto& command : run_.commands) execute(command);
  }

  std::map<std::string, double> metrics;
  std::map<std::string, std::string> documents;
  std::string log;

 private:
  /// Runs a step, whose output is JSON.
  json step(const std::string& name, const std::vector<std::string>& arguments, ChildResult& child) {
    log += fmt::format("$ {}\n", fmt::join(arguments, " "));
    child = run_child(arguments);
    log += child.log;
    if (child.exit_code != 0) {
      const std::string said = last_line(child.log);
      throw Error(ErrorCode::io, name,
                  fmt::format("exit code {}{}{}", child.exit_code, said.empty() ? "" : ": ", said));
    }
    if (child.output.empty()) return json::object();
    json parsed = json::parse(child.output, nullptr, false);
    if (parsed.is_discarded()) {
      throw Error(ErrorCode::invalid_file, name, fmt::format("printed '{}'", last_line(child.output)),
                  "one JSON value");
    }
    documents[name] = parsed.dump();
    return parsed;
  }

  json mxq(const std::string& name, std::vector<std::string> arguments, ChildResult& child) {
    arguments.insert(arguments.begin(), options_.program.string());
    arguments.insert(arguments.end(), options_.flags.begin(), options_.flags.end());
    arguments.insert(arguments.end(), {"--json", "--quiet"});
    return step(name, arguments, child);
  }

  void keep(const std::string& name, const json& value) {
    if (value.is_number()) metrics[name] = value.get<double>();
  }

  /// What reports say of the model itself.
  void inspect() {
    ChildResult child;
    keep("parameters", mxq("inspect", {"inspect", run_.model_path.string()}, child).value("parameters", json()));
  }

  void quantize() {
    std::vector<std::string> arguments{"quantize", run_.model_path.string(), "-o", checkpoint_.string()};
    arguments.insert(arguments.end(), run_.quantize.begin(), run_.quantize.end());
    ChildResult child;
    const json result = mxq("quantize", arguments, child);
    keep("bits_per_parameter", result.value("bits_per_parameter", json()));
    keep("matrix_bytes", result.value("bytes", json()));
    keep("predicted", result.value(json::json_pointer("/objective/value"), json()));
    const json seconds = result.value("seconds", json::object()), files = result.value("files", json::object());
    for (const auto& [name, took] : seconds.items()) {
      keep("quantize_seconds." + name, took);
    }
    metrics["quantize_seconds"] = child.seconds;
    metrics["quantize_peak_rss_bytes"] = static_cast<double>(child.peak_rss_bytes);
    double bytes = 0;
    for (const auto& [file, size] : files.items()) {
      if (file.ends_with(".safetensors") && size.is_number()) bytes += size.get<double>();
    }
    metrics["file_bytes"] = bytes;
  }

  void score(const ExperimentRun::Scoring& scoring) {
    std::vector<std::string> arguments{"eval", checkpoint_.string()};
    if (scoring.text.empty()) {
      arguments.emplace_back("--self");
    } else {
      arguments.insert(arguments.end(), {"--text", scoring.text.string()});
    }
    arguments.insert(arguments.end(), scoring.flags.begin(), scoring.flags.end());
    if (scoring.against_original && !run_.original) {
      arguments.insert(arguments.end(), {"--against", run_.model_path.string()});
    }
    ChildResult child;
    const json result = mxq("eval." + scoring.name, arguments, child);
    keep("perplexity." + scoring.name, result.value("perplexity", json()));
    keep("tokens_per_second", result.value("tokens_per_second", json()));
    keep("weight_bytes", result.value("weight_bytes", json()));
    metrics["eval_peak_rss_bytes"] =
        std::max(metrics["eval_peak_rss_bytes"], static_cast<double>(child.peak_rss_bytes));
    if (!scoring.against_original) return;
    if (run_.original) {
      metrics["kl." + scoring.name] = 0;
      return;
    }
    keep("kl." + scoring.name, result.value(json::json_pointer("/kl/mean"), json()));
    keep("top1_agreement." + scoring.name, result.value(json::json_pointer("/kl/top1_agreement"), json()));
    keep("ln_ppl_ratio." + scoring.name, result.value(json::json_pointer("/kl/ln_ppl_ratio"), json()));
  }

  void execute(const ExperimentRun::Command& command) {
    std::vector<std::string> arguments;
    for (std::string argument : command.arguments) {
      if (argument.find("{plain}") != std::string::npos) dequantize();
      replace(argument, "{plain}", (scratch_ / "plain").string());
      replace(argument, "{checkpoint}", checkpoint_.string());
      replace(argument, "{model}", run_.model_path.string());
      arguments.push_back(std::move(argument));
    }
    ChildResult child;
    const json result = step("command." + command.name, arguments, child);
    metrics["seconds." + command.name] = child.seconds;
    if (!result.is_object()) return;
    for (const auto& [name, value] : result.items()) keep(command.name + "." + name, value);
  }

  /// Once, for commands that want plain safetensors.
  void dequantize() {
    if (fs::exists(scratch_ / "plain")) return;
    ChildResult child;
    mxq("dequantize", {"dequantize", checkpoint_.string(), "-o", (scratch_ / "plain").string()}, child);
  }

  static void replace(std::string& text, const std::string& name, const std::string& value) {
    for (size_t at = 0; (at = text.find(name, at)) != std::string::npos; at += value.size()) {
      text.replace(at, name.size(), value);
    }
  }

  const ExperimentRun& run_;
  const WorkOptions& options_;
  fs::path scratch_, checkpoint_;
};

}  // namespace

/// One process's share of an experiment.
class ExperimentWorker {
 public:
  ExperimentWorker(const Experiment& experiment, ResultStore& store, const WorkOptions& options)
      : experiment_(experiment), store_(*store.connection_), options_(options), number_(store_.register_worker()) {}

  WorkReport work(Progress& progress) {
    const Stopwatch watch;
    WorkReport report;
    queue(report);
    progress.begin("runs", std::ssize(experiment_.runs) - report.known);
    // Again, for what others left when they were killed meanwhile.
    for (bool found = true; found;) {
      found = false;
      store_.release_dead();
      for (size_t i = 0; i < ids_.size(); ++i) {
        if (!store_.claim(ids_[i], number_)) continue;
        found = true;
        (do_run(experiment_.runs[i], ids_[i]) ? report.done : report.failed) += 1;
        progress.update(report.done + report.failed);
      }
    }
    progress.end();
    for (const auto& id : ids_) report.elsewhere += store_.state(id) == RunState::running;
    Statement(store_.database, "DELETE FROM workers WHERE id = ?").bind(number_).run();
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

  bool do_run(const ExperimentRun& run, const std::string& id) {
    const Scratch scratch(store_.path.string() + ".work/" + id);
    Steps steps(run, options_, scratch.path());
    try {
      steps.go();
    } catch (const Error& e) {
      store_.fail(id, e.what(), steps.log);
      return false;
    }
    store_.finish(id, steps.metrics, steps.documents, steps.log);
    return true;
  }

  const Experiment& experiment_;
  StoreConnection& store_;
  const WorkOptions& options_;
  int64_t number_;
  std::vector<std::string> ids_;
};

WorkReport work_on(const Experiment& experiment, ResultStore& store, const WorkOptions& options, Progress* progress) {
  return ExperimentWorker(experiment, store, options).work(or_silent(progress));
}

}  // namespace mxq
