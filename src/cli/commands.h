// The subcommands: each add_* registers one, with its options and what it does.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/options.h"

namespace mxq::cli {

/// All of them.
void add_commands(CLI::App& app, const CommonOptions& common);

void add_bench(CLI::App& app, const CommonOptions& common);
void add_inspect(CLI::App& app, const CommonOptions& common);
void add_measure(CLI::App& app, const CommonOptions& common);
void add_plan(CLI::App& app, const CommonOptions& common);
void add_quantize(CLI::App& app, const CommonOptions& common);
void add_dequantize(CLI::App& app, const CommonOptions& common);
void add_eval(CLI::App& app, const CommonOptions& common);
void add_generate(CLI::App& app, const CommonOptions& common);
void add_report(CLI::App& app);
void add_tokenize(CLI::App& app, const CommonOptions& common);

}  // namespace mxq::cli
