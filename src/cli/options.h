// Options that several subcommands share, and how they become the library's.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "mxq/generate.h"
#include "mxq/method.h"
#include "mxq/model.h"
#include "mxq/output.h"
#include "mxq/progress.h"
#include "mxq/run_options.h"

namespace mxq::cli {

/// Runs `read`, which reads the value of `flag`; its errors are headed by the flag.
void at_flag(const std::string& flag, const std::function<void()>& read);

/// Of every subcommand.
struct CommonOptions {
  bool quiet = false;
  bool json = false;
  int threads = 0;
  std::string log_level = "info";

  /// A bar on a terminal; nothing when piped or --quiet.
  std::unique_ptr<Progress> progress() const;
};
void add_common(CLI::App& app, CommonOptions& common);

/// A request as its options give it, whether results are remembered (--no-cache), and how the model is run (--packed).
struct MethodOptions {
  MethodRequest request;
  bool no_cache = false;
  bool packed = false;

  /// Where results are remembered; empty: nowhere.
  std::filesystem::path cache() const;
  /// What is read: the model, and the calibration text where that is a file.
  InputPaths inputs(const std::string& model) const;
};
/// The options of the fields of those groups, in the table's order, --no-cache and --packed.
void add_method(CLI::App& command, MethodOptions& method, std::initializer_list<FieldGroup> groups);

/// How a model is run: --packed, --compute.
void add_run(CLI::App& command, RunOptions& run);

/// How text is drawn from a model: --temperature, --top-p, --seed; the defaults are what `sampling` holds. Returns
/// them.
std::vector<CLI::Option*> add_sampling(CLI::App& command, Sampling& sampling);

/// Warns where `tokens` are beyond what the model was made for.
void warn_of_long_context(const Model& model, int64_t tokens);

}  // namespace mxq::cli
