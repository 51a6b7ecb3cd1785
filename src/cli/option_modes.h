// In which modes of its command each option has an effect: one table, so that nothing that was asked for is passed
// over.
#pragma once

#include <CLI/CLI.hpp>

namespace mxq::cli {

/// What commands do; most do one of several things.
enum class Mode {
  always,  // of commands that do one thing
  measure_errors,
  measure_sensitivity,
  plan_model,
  plan_model_frontier,  // without a budget
  plan_table,
  plan_table_frontier,
  quantize_budget,
  quantize_verify,
  quantize_loss,
  quantize_plan,
  quantize_uniform,
  eval_text,
  eval_self,
  eval_self_greedy,
  generate_greedy,
  generate_sampled,
  bench_run,
  bench_dry_run,
  bench_status,
  bench_log,
  bench_export,
  bench_import,
  report,
};

/// Throws Error(usage) naming the first option given, to the command or before it, that has no effect in the mode, and
/// the modes in which it has one.
void refuse_unused(const CLI::App& command, Mode mode);

/// Throws std::logic_error naming an option of the program or of a subcommand that the table lacks, or an entry of the
/// table that no command has.
void check_option_table(const CLI::App& app);

}  // namespace mxq::cli
