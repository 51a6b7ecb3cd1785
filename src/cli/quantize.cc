#include "mxq/quantize_model.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/plan_model.h"
#include "cli/print_plan.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/runtime.h"
#include "mxq/text.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, output, plan_path, uniform;
  MethodOptions method;
  BudgetOptions budget;
  PlanOptions plan;
  WriteOptions write;
};

struct Seconds {
  double measure = 0, plan = 0, quantize = 0;
};

/// The plan to carry out: read from --plan, or made from the model for --uniform or a budget.
PlanFile make_plan(const Options& options, const CommonOptions& common, Seconds& seconds) {
  const int sources = !options.plan_path.empty() + !options.uniform.empty() + options.budget.given();
  if (sources != 1) {
    throw Error(ErrorCode::usage, "quantize", sources == 0 ? "no budget" : "more than one of budget, --plan, --uniform",
                "one of --bits, --size, --vram, --plan or --uniform");
  }
  if (!options.plan_path.empty()) return read_plan(read_file(options.plan_path), options.plan_path);

  const Budget budget = options.uniform.empty() ? options.budget.budget() : Budget{};
  const MethodChoice choice = choose_method(options.model, options.method,
                                            options.uniform.empty() ? options.plan.objective : std::string("kl"));
  MeasureOptions measure = choice.method.measure();
  AllocateOptions allocate_options = options.plan.allocate();
  if (!options.uniform.empty()) {
    measure.schemes = {parse_scheme(options.uniform)};
    allocate_options.pins.clear();
    allocate_options.min_bits = 0;
  }
  PlanFile file;
  file.quantize = measure.quantize;
  file.calibration = choice.method.calibrate(options.plan.sample_text);
  auto measured = measure_model(options.model, measure, common.progress().get());
  seconds.measure = measured.seconds;
  if (!options.uniform.empty()) {
    choice.warn();
    file.plan = allocate(measured.table, reachable_bytes(measured.table, allocate_options).smallest, allocate_options);
  } else {
    const Problem problem =
        prepare_problem(options.model, budget, options.plan, choice, measured.table, common, seconds.measure);
    file.plan = allocate(measured.table, problem.budget_bytes, problem.options);
  }
  seconds.plan = file.plan.seconds;
  if (!common.json) print_plan(file.plan, measured.table);
  return file;
}

void print_json(const PlanFile& file, const WriteReport& report, const Seconds& seconds) {
  auto json = nlohmann::ordered_json::parse(write_plan(file));
  json["files"] = report.files;
  json["seconds"] = {{"measure", seconds.measure}, {"plan", seconds.plan}, {"quantize", seconds.quantize}};
  json["peak_rss_bytes"] = peak_rss_bytes();
  fmt::print("{}\n", json.dump(2));
}

void print_summary(const Options& options, const PlanFile& file, const WriteReport& report, const Seconds& seconds) {
  int64_t after = 0;
  for (const auto& [name, size] : report.files) {
    if (name.ends_with(".safetensors")) after += size;
  }
  const WeightBytes before = weight_bytes(options.model);
  const double weights = 8 * static_cast<double>(file.plan.bytes) / file.plan.bits_per_parameter;
  const auto half = static_cast<int64_t>(2 * weights);
  fmt::print("matrices   {}; {} in fp16, so {:.2f} x smaller\n", format_size(report.matrix_bytes), format_size(half),
             static_cast<double>(half) / static_cast<double>(report.matrix_bytes));
  fmt::print("all        {} in {}; as it was: {}, all in fp16: {}\n", format_size(after), options.output,
             format_size(before.stored), format_size(2 * before.weights));
  fmt::print("time       measure {:.1f} s, plan {:.3f} s, quantize {:.1f} s; peak memory {}\n", seconds.measure,
             seconds.plan, seconds.quantize, format_size(peak_rss_bytes()));
}

void run(const Options& options, const CommonOptions& common) {
  check_output(options.output, options.write);
  Seconds seconds;
  const PlanFile file = make_plan(options, common, seconds);
  WriteOptions write = options.write;
  write.cache = options.method.cache();
  const auto report = quantize_model(options.model, options.output, file, write, common.progress().get());
  seconds.quantize = report.seconds;
  for (const auto& note : report.notes) spdlog::warn("{}", note);
  if (common.json) {
    print_json(file, report, seconds);
  } else {
    print_summary(options, file, report, seconds);
  }
}

}  // namespace

void add_quantize(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("quantize", "fit a model into a budget: measure, plan, write the checkpoint");
  command->add_option("MODEL", options->model, "folder of safetensors, .safetensors or .gguf")->required();
  command->add_option("-o,--output", options->output, "checkpoint folder to make")->type_name("OUT")->required();
  command->add_option("--plan", options->plan_path, "carry out this plan (of mxq plan) instead of a budget")
      ->type_name("FILE");
  command->add_option("--uniform", options->uniform, "one scheme for all matrices instead of a budget")
      ->type_name("SCHEME");
  command->add_flag("--overwrite", options->write.overwrite, "replace OUT if it exists");
  command->add_option("--shard-bytes", options->write.max_shard_bytes, "largest weight file")
      ->type_name("BYTES")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50))
      ->capture_default_str();
  add_budget(*command, options->budget);
  add_plan_options(*command, options->plan);
  add_method(*command, options->method);
  command->callback([options, &common] { run(*options, common); });
}

}  // namespace mxq::cli
