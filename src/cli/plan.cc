#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/commands.h"
#include "cli/model_remarks.h"
#include "cli/option_modes.h"
#include "cli/plan_model.h"
#include "cli/print_plan.h"
#include "cli/report_coverage.h"
#include "cli/say_forecast.h"
#include "cli/standard_streams.h"
#include "mxq/error.h"
#include "mxq/files.h"
#include "mxq/output.h"
#include "mxq/plan_file.h"
#include "mxq/table_selection.h"

namespace mxq::cli {

namespace {

struct Options {
  std::string model, errors, output, frontier;
  int grid = 200;
  MethodOptions method;
};

constexpr FileKind kFrontierFile{"a frontier", "bytes,bits_per_parameter,objective,convex\n"};

void write_frontier(const ErrorTable& table, const Options& options, const AllocateOptions& allocate_options,
                    const OutputFile& file, Progress* progress) {
  std::string csv(kFrontierFile.beginning);
  for (const auto& point : frontier(table, options.grid, allocate_options, progress)) {
    csv += fmt::format("{},{},{},{}\n", point.bytes, point.bits_per_parameter, point.value, point.convex ? 1 : 0);
  }
  file.write(csv);
}

/// The rows of the table that the options choose.
ErrorTable read_table(const Options& options) {
  const ErrorTable table = read_error_table(read_file(options.errors), options.errors);
  check_schemes(table, options.errors);
  const MethodRequest& request = options.method.request;
  ErrorTable chosen =
      select_rows(table, {request.schemes.value_or(std::vector<Scheme>()), request.skip, request.embeddings});
  const auto unknown = [](const MatrixErrors& m) { return m.sensitivity < 0; };
  const auto count = std::count_if(chosen.matrices.begin(), chosen.matrices.end(), unknown);
  if (!request.objective && count > 0 && count < std::ssize(chosen.matrices)) {
    const auto first = std::find_if(chosen.matrices.begin(), chosen.matrices.end(), unknown);
    spdlog::warn("objective rel instead of kl, for {} of {} matrices of {} have no sensitivity, e.g. '{}'", count,
                 chosen.matrices.size(), options.errors, first->name);
  }
  return chosen;
}

Mode mode_of(const Options& options) {
  const bool has_budget = options.method.request.has_budget();
  if (options.errors.empty()) return has_budget ? Mode::plan_model : Mode::plan_model_frontier;
  return has_budget ? Mode::plan_table : Mode::plan_table_frontier;
}

void run(const Options& options, const CLI::App& command, const CommonOptions& common) {
  if (options.model.empty() == options.errors.empty()) {
    throw Error(ErrorCode::usage, "plan",
                options.model.empty() ? "neither MODEL nor --errors" : "both MODEL and --errors", "one of the two");
  }
  const MethodRequest& request = options.method.request;
  if (!request.has_budget() && options.frontier.empty()) {
    throw Error(ErrorCode::usage, "plan", "no budget", "--bits, --size or --vram (or --frontier FILE)");
  }
  if (!options.errors.empty() && request.counts_all_bytes()) {
    throw Error(ErrorCode::usage, "plan", "--size or --vram with --errors", "--bits, or MODEL instead of --errors");
  }
  refuse_unused(command, mode_of(options));
  if (request.has_budget()) request.budget();  // what is wrong is said before the model is measured
  InputPaths inputs = options.method.inputs(options.model);
  inputs.push_back({"the error table", options.errors});
  std::optional<OutputFile> output, frontier;
  if (!options.output.empty()) output.emplace(options.output, kPlanFile, inputs);
  inputs.push_back({"the plan", options.output});
  if (!options.frontier.empty()) frontier.emplace(options.frontier, kFrontierFile, inputs);
  const auto progress = common.progress();
  Method method;
  PlanningProblem problem;
  std::optional<Coverage> coverage;  // a table does not tell what else is in the model
  if (options.errors.empty()) {
    const Model model(options.model);
    model.run_packed(options.method.packed);
    say_remarks(model);
    method = resolve(model, request);
    say_method(model, request, method);
    announce_job("plan", model, request, method, Job::plan);
    problem = pose(model, request, method, options.method.cache(), progress.get());
    coverage = model_coverage(model, method.matrices);
  } else {
    const ErrorTable table = read_table(options);
    method = resolve(table, request);
    problem = pose(table, request, method);
  }
  say_problem(method, problem);
  if (frontier) write_frontier(problem.table(), options, problem.allocate, *frontier, progress.get());
  if (!request.has_budget()) return;
  const PlanFile file = problem.plan(method);
  const std::string json = write_plan(file);
  if (output) output->write(json);
  if (coverage) warn_of_coverage(*coverage, request.bits.has_value());
  if (common.json) {
    auto shown = nlohmann::ordered_json::parse(json);
    if (coverage) shown["coverage"] = coverage_json(*coverage);
    put_json(shown);
  } else {
    print_plan(file.plan, problem.table());
    if (coverage) print_coverage(*coverage);
  }
}

}  // namespace

void add_plan(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<Options>();
  auto* command = app.add_subcommand("plan", "choose a scheme for every matrix, proved optimal for the budget");
  command->add_option("MODEL", options->model, "folder of safetensors or .bin, or a .safetensors, .gguf or .pth file");
  command->add_option("--errors", options->errors, "plan for an error table instead of MODEL")->type_name("CSV");
  command->add_option("-o,--output", options->output, "write the plan as JSON, for quantize --plan")->type_name("FILE");
  auto* frontier =
      command->add_option("--frontier", options->frontier, "also write the frontier, loss against bytes, as CSV")
          ->type_name("FILE");
  command->add_option("--grid", options->grid, "number of exact plans on the frontier beside its convex corners")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->needs(frontier)
      ->capture_default_str();
  add_method(*command, options->method,
             {FieldGroup::bits, FieldGroup::bytes, FieldGroup::choice, FieldGroup::schemes, FieldGroup::matrix,
              FieldGroup::text});
  command->callback([options, command, &common] { run(*options, *command, common); });
}

}  // namespace mxq::cli
