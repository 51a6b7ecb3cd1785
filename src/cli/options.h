// Options that several subcommands share, and how they become the library's.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mxq/allocate.h"
#include "mxq/budget.h"
#include "mxq/calibration.h"
#include "mxq/generate.h"
#include "mxq/measure.h"
#include "mxq/model.h"
#include "mxq/output.h"
#include "mxq/progress.h"
#include "mxq/run_options.h"

namespace mxq::cli {

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

/// The text on which sensitivities are measured: --sample-tokens, --sample-seed.
struct SampleTextOptions {
  int64_t tokens = kProbeSequences * 384;
  uint64_t seed = 0;

  SelfText text() const;
};
void add_sample_text(CLI::App& command, SampleTextOptions& text);

/// How matrices are measured and quantized. What is left empty depends on the model and the budget: see
/// choose_method(). --fit, --axis, --metadata, --normalize, --schemes, --embeddings, --skip, --no-cache, --calibration,
/// --calibration-tokens, --damping, --column-order, --zero-point.
struct MethodOptions {
  std::string fit;
  int axis = 1;
  std::string metadata = "q8";
  std::string normalize;
  std::string calibration;  // empty: self for gptq and awq, none for others
  int64_t calibration_tokens = 18432;
  double damping = Calibration().damping;
  std::string column_order = "left", zero_point = "real";
  std::string schemes;
  std::vector<std::string> skip;
  std::optional<bool> embeddings;
  bool no_cache = false;

  /// Nothing may be empty.
  MeasureOptions measure() const;
  MatrixSelection matrices() const { return {skip, embeddings.value_or(false)}; }
  /// Where results are remembered; empty: nowhere.
  std::filesystem::path cache() const;
  /// What is read: the model, and the calibration text where that is a file.
  InputPaths inputs(const std::string& model) const;
  /// Text of the model's own is drawn like that of `sample_text`, in sequences as long; a file is cut as Calibration
  /// says.
  Calibration calibrate(const SampleTextOptions& sample_text) const;
};
void add_method(CLI::App& command, MethodOptions& method);

/// How a model is run: --packed, --compute.
void add_run(CLI::App& command, RunOptions& run);

/// How text is drawn from a model: --temperature, --top-p, --seed; the defaults are what `sampling` holds. Returns
/// them.
std::vector<CLI::Option*> add_sampling(CLI::App& command, Sampling& sampling);

/// Warns where `tokens` are beyond what the model was made for.
void warn_of_long_context(const Model& model, int64_t tokens);

/// --bits, --size, --vram with --context and --reserve: exactly one of the three.
struct BudgetOptions {
  std::optional<std::string> bits, size, vram, reserve;
  std::optional<int64_t> context;

  bool given() const { return bits || size || vram; }
  /// The budget counts all bytes of the model, those outside the layers too.
  bool all_bytes() const { return size || vram; }
  Budget budget() const;
};
/// What the budget leaves for the matrices of `model`; warns of a context beyond what the model was trained for.
int64_t matrix_budget_of(const Budget& budget, const ErrorTable& table, const AllocateOptions& options,
                         const ModelBytes& model);

void add_budget(CLI::App& command, BudgetOptions& budget);

/// --objective, --solver, --pin, --min-bits, --tie, --sample-tokens, --sample-seed.
struct PlanOptions {
  std::string objective;  // empty: kl where the model can be run, rel elsewhere
  std::string solver = "exact";
  SampleTextOptions sample_text;
  std::vector<std::string> pins, ties;
  int min_bits = 0;

  AllocateOptions allocate() const;
};
void add_plan_options(CLI::App& command, PlanOptions& plan);

}  // namespace mxq::cli
