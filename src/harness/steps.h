// One run, step by step, each a process of its own.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/child.h"
#include "harness/connection.h"
#include "mxq/experiment.h"

namespace mxq {

class Steps {
 public:
  /// What the run writes goes into `scratch`, what its worker's other runs may use again into `shared`, and what comes
  /// of it into `result`, step by step. All must outlive it.
  Steps(const ExperimentRun& run, const WorkOptions& options, const std::filesystem::path& scratch,
        const std::filesystem::path& shared, RunResult& result);

  /// Throws Error(io) or Error(invalid_file) for the first step that fails.
  void go();

 private:
  /// Runs a step, whose output is JSON.
  nlohmann::json step(const std::string& name, const std::vector<std::string>& arguments, ChildResult& child);
  nlohmann::json mxq(const std::string& name, std::vector<std::string> arguments, ChildResult& child);
  /// Numbers become metrics; those in objects by dotted names.
  void keep(const std::string& name, const nlohmann::json& value);

  /// What reports say of the model itself.
  void inspect();
  void quantize();
  void score(const ExperimentRun::Scoring& scoring);
  /// Where the original's logits of a text are kept.
  std::filesystem::path base_logits(const ExperimentRun::Scoring& scoring) const;
  void execute(const ExperimentRun::Command& command);
  /// Once, for commands that want plain safetensors.
  void dequantize();

  const ExperimentRun& run_;
  const WorkOptions& options_;
  const std::filesystem::path &scratch_, &shared_;
  std::filesystem::path checkpoint_;
  RunResult& result_;
};

}  // namespace mxq
